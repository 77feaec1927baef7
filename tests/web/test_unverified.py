"""An endpoint that its company has entered: nothing is sent to it before it is proven."""

from __future__ import annotations

import json

import pytest

from cdc.webhooks.trials import CHALLENGES_PER_HOUR
from tests.web.browser import person
from tests.web.kit import Client, Served, problem
from tests.web.test_portal import new_link

URL = "http://127.0.0.1:9"
HOOK = {"events": ["project_changed"], "endpoint": "http://127.0.0.1:9/own"}


@pytest.fixture
def company(served: Served) -> Client:
    return served.client("company:6")


@pytest.fixture
def operator(served: Served) -> Client:
    return served.client("operator")


def waits(company: Client, number: int) -> bool:
    found = company.good("GET", f"/v1/webhooks/{number}")
    waiting = found["unverified_since"] is not None
    if waiting:
        assert (found["state"], found["reason"]) == ("paused", "its endpoint is not yet verified")
    return waiting


def test_what_a_companys_key_registers_waits(
    served: Served, company: Client, operator: Client
) -> None:
    made = company.good("POST", "/v1/companies/6/webhooks", HOOK)
    number, path = made["id"], f"/v1/webhooks/{made['id']}"
    assert waits(company, number)
    # Its changes are collected.
    assert served.rows("select event from cdc.subscription where webhook_id = %s", number)
    answer = company("POST", f"{path}/resume", {})
    assert (answer.status, problem(answer)["code"]) == (409, "unverified")
    assert "cdc " not in answer.body.decode()
    assert company.refused("POST", f"{path}/resume", {"unverified": True}) == (403, "forbidden")
    assert operator.refused("POST", f"{path}/resume", {}) == (409, "unverified")
    task = company.good("POST", f"{path}/verify", {})
    assert (task["kind"], task["state"], task["webhook_id"]) == ("test", "waiting", number)
    assert served.rows("select request from cdc.task where id = %s", task["id"]) == [
        ({"events": ["webhook_challenge"], "challenge": "echo"},)
    ]
    done = operator.good("POST", f"{path}/resume", {"unverified": True})
    assert (done["state"], done["reason"], done["unverified_since"]) == ("active", "", None)
    [noted] = operator.good("GET", f"/v1/audit?webhook={number}&action=webhook.resume")["items"]
    assert noted["before"]["unverified_since"]
    assert served.client("company:5").refused("POST", f"{path}/verify", {}) == (404, "not_found")


def test_another_endpoint_waits_again(served: Served, company: Client, operator: Client) -> None:
    number = operator.good(
        "POST", "/v1/companies/6/webhooks", {**HOOK, "endpoint": "http://127.0.0.1:9/2"}
    )["id"]
    path = f"/v1/webhooks/{number}"
    assert not waits(company, number)  # the operator vouches for it
    assert company.good("PATCH", path, {"description": "x"})["unverified_since"] is None
    company.good("PATCH", path, {"endpoint": "http://127.0.0.1:9/2"})
    assert not waits(company, number)
    operator.good("PATCH", path, {"endpoint": "http://127.0.0.1:9/moved"})
    assert not waits(company, number)
    served.run("update cdc.webhook set state = 'suspended' where id = %s", number)
    company.good("PATCH", path, {"endpoint": "http://127.0.0.1:9/again"})
    assert waits(company, number)
    company.good("DELETE", path)
    assert company.refused("POST", f"{path}/verify", {}) == (404, "not_found")


def test_nothing_but_a_challenge_is_sent_to_it(
    served: Served, company: Client, operator: Client
) -> None:
    """A test is a request to any address that a company likes, too."""
    number = company.good("POST", "/v1/companies/6/webhooks", {**HOOK, "endpoint": f"{URL}/4"})[
        "id"
    ]
    path = f"/v1/webhooks/{number}"
    for key in (company, served.client(f"webhook:{number}")):
        answer = key("POST", f"{path}/test", {})
        assert (answer.status, problem(answer)["code"]) == (409, "unverified")
    assert served.rows("select from cdc.task where webhook_id = %s", number) == []
    operator.good("POST", f"{path}/test", {})
    operator.good("POST", f"{path}/resume", {"unverified": True})
    company.good("POST", f"{path}/test", {})


def test_a_company_has_a_number_of_challenges_sent_an_hour(
    served: Served, operator: Client
) -> None:
    """Whichever of its webhooks they are for: it would have us call any address otherwise."""
    company = served.client("company:5")
    first, second = (
        company.good("POST", "/v1/companies/5/webhooks", {**HOOK, "endpoint": f"{URL}/5/{n}"})["id"]
        for n in range(2)
    )
    served.run(
        "insert into cdc.task (kind, state, actor, company, webhook_id, request, created_at)"
        " select 'test', 'done', 'x', '5', %s, '{\"challenge\": \"echo\"}',"
        " now() - interval '59 minutes' from generate_series(1, %s)",
        *(first, CHALLENGES_PER_HOUR - 1),
    )
    operator.good("POST", f"/v1/webhooks/{second}/test", {})  # counts for its own limit alone
    company.good("POST", f"/v1/webhooks/{second}/verify", {})
    for client, number in ((company, first), (company, second), (operator, second)):
        answer = client("POST", f"/v1/webhooks/{number}/verify", {})
        assert (answer.status, problem(answer)["code"]) == (429, "too_many_requests")
        assert "60 challenges were sent for company 5 within an hour" in problem(answer)["detail"]
        assert 1 <= int(answer.headers["retry-after"]) <= 60
    own = served.client("company:6")
    other = own.good("POST", "/v1/companies/6/webhooks", {**HOOK, "endpoint": f"{URL}/6"})["id"]
    own.good("POST", f"/v1/webhooks/{other}/verify", {})
    served.run("update cdc.task set created_at = created_at - interval '2 min' where company = '5'")
    company.good("POST", f"/v1/webhooks/{second}/verify", {})


async def test_the_pages_say_it_and_what_to_do(served: Served, company: Client) -> None:
    number = company.good(
        "POST", "/v1/companies/6/webhooks", {**HOOK, "endpoint": "http://127.0.0.1:9/3"}
    )["id"]
    result = {"ok": False, "cause": "challenge", "status": 200, "todo": "T", "sentence": "S"}
    async with person(served.url) as desk, person(served.url, root="") as one:
        await desk.sign_in(served.client("operator").key or "")
        await one.post(new_link(served, "6", "manage"), {})
        page = await one.get(f"/portal/webhooks/{number}")
        assert "Nothing is sent to this address yet: it is not verified." in page.text
        assert f"/portal/webhooks/{number}/resume" not in page.links
        assert f"/portal/webhooks/{number}/test" not in page.links
        assert not [link for link in page.links if link.endswith("/accept")]
        assert (await one.get(f"/portal/webhooks/{number}/accept")).status == 404
        page = await one.post(f"/portal/webhooks/{number}/verify", {})
        assert page.path.endswith("?done=challenged")
        assert "A challenge is being sent." in page.text
        served.run(
            "update cdc.task set state = 'done', ended_at = now(), result = to_jsonb(%s::json)"
            " where webhook_id = %s", json.dumps(result), number,
        )  # fmt: skip
        page = await one.get(f"/portal/webhooks/{number}")
        assert "Your server's answer did not hold the text of the challenge" in page.text
        assert "unverified" in (await one.get("/portal/")).text
        page = await desk.get(f"/webhooks/{number}")
        assert "has entered this endpoint, and has not verified it" in page.text
        assert "The last challenge was not answered: S." in page.text
        page = await desk.post(f"/webhooks/{number}/accept", {})
        assert "Resumed." in page.text
        assert "has not verified" not in page.text
        for _ in range(5):
            page = await one.post(f"/portal/webhooks/{number}/verify", {})
        assert (page.status, "was tested 5 times" in page.text) == (429, True)
