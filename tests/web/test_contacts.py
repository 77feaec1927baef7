"""Contacts of a company over the API: added, asked to confirm, confirmed by the link, removed."""

from __future__ import annotations

import pytest

from cdc.webhooks.contacts import ADDED_PER_HOUR, CONTACTS_PER_COMPANY
from tests.web.kit import Client, Served, problem

PATH = "/v1/companies/91/contacts"


@pytest.fixture(scope="module")
def own(served: Served) -> Client:
    return served.client("company:91")


def test_from_adding_to_removing(served: Served, own: Client) -> None:
    answer = own("POST", PATH, {"email": "it@customer.example"}, {"Idempotency-Key": "c1"})
    made = answer.json
    assert (answer.status, made["email"], made["confirmed_at"]) == (
        201,
        "it@customer.example",
        None,
    )
    again = own("POST", PATH, {"email": "it@customer.example"}, {"Idempotency-Key": "c1"})
    assert again.json == made
    [(code,)] = served.rows("select code from cdc.contact where id = %s", made["id"])
    assert code not in answer.body.decode()
    assert own.good("GET", PATH)["items"] == [made]
    # By the link that is mailed to it: without a key.
    assert Client(served.url)("POST", f"/confirm/{code}").status == 200
    [found] = served.client("read").good("GET", PATH)["items"]
    assert found["confirmed_at"] is not None
    # Another company's number is not there.
    other = served.client("company:92")
    assert other.refused("DELETE", f"/v1/companies/92/contacts/{made['id']}") == (404, "not_found")
    own.good("DELETE", f"{PATH}/{made['id']}")
    assert own.refused("DELETE", f"{PATH}/{made['id']}") == (404, "not_found")
    assert own.good("GET", PATH) == {"items": []}
    noted = served.client("operator").good("GET", "/v1/audit?company=91")["items"]
    assert [one["action"] for one in noted][:3] == [
        "contact.remove", "contact.confirm", "contact.add",
    ]  # fmt: skip


def test_refused(served: Served) -> None:
    client, path = served.client("company:93"), "/v1/companies/93/contacts"
    for wrong in ("nobody", "a@b@c", "a@example.com\r\nBcc: b@example.com", "a b@example.com"):
        answer = client("POST", path, {"email": wrong})
        found = problem(answer)
        assert (answer.status, found["errors"][0]["field"]) == (422, "email"), wrong
    client.good("POST", path, {"email": "a@example.com"})
    assert client.refused("POST", path, {"email": "A@example.com"}) == (409, "conflict")


def test_addresses_are_not_flooded(served: Served) -> None:
    """Each that is added is sent a mail: so few are, and not again and again."""
    client, path = served.client("company:94"), "/v1/companies/94/contacts"
    for number in range(CONTACTS_PER_COMPANY):
        client.good("POST", path, {"email": f"{number}@example.com"})
    assert client.refused("POST", path, {"email": "b@example.com"}) == (409, "limit_reached")
    served.run("delete from cdc.contact where company = '94'")
    for number in range(ADDED_PER_HOUR - CONTACTS_PER_COMPANY):
        client.good("POST", path, {"email": f"{number}@example.com"})
    served.run("delete from cdc.contact where company = '94'")
    answer = client("POST", path, {"email": "b@example.com"})
    assert "within an hour" in problem(answer)["detail"]
