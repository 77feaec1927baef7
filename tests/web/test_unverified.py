"""An endpoint that its company has entered: nothing is sent to it before it is proven."""

from __future__ import annotations

import json

import pytest

from tests.web.browser import person
from tests.web.kit import Client, Served, problem
from tests.web.test_portal import new_link

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
