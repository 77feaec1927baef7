"""Backfills over the API."""

from __future__ import annotations

import pytest

from tests.web.kit import Client, Served, problem


@pytest.fixture(scope="module")
def operator(served: Served) -> Client:
    return served.client("operator")


def test_started_listed_and_ended(served: Served, operator: Client) -> None:
    hook = operator.good(
        "POST",
        "/v1/companies/77/webhooks",
        {"events": ["candidate_changed"], "endpoint": "http://127.0.0.1:9/77"},
    )["id"]
    asked = {"webhook": hook, "event": "candidate_changed", "action": "created"}
    served.run("insert into company values (77)")
    served.run("insert into project (id, company_id) values (771, 77)")
    served.run("insert into candidate (project_id) select 771 from generate_series(1, 4500)")
    counted = operator.good("POST", "/v1/backfills", {**asked, "dry_run": True})
    assert counted == {"looked": 4500, "wanted": 4500, "complete": True}
    answer = operator("POST", "/v1/backfills", asked)
    made = answer.json
    assert (answer.status, made["state"], made["last_key"]) == (201, "running", None)
    path = answer.headers["location"]
    assert operator.good("GET", path) == made
    assert operator.refused("POST", "/v1/backfills", asked) == (409, "conflict")
    served.run("update cdc.backfill set looked = 9, place = '{1,17,19}' where id = %s", made["id"])
    assert operator.good("POST", f"{path}/pause", {})["last_key"] == "19"
    assert operator.refused("POST", f"{path}/pause", {}) == (409, "conflict")
    own = served.client(f"webhook:{hook}")
    assert [one["id"] for one in own.good("GET", "/v1/backfills")["items"]] == [made["id"]]
    assert operator.good("POST", f"{path}/resume", {})["state"] == "running"
    assert operator.good("POST", f"{path}/cancel", {})["ended_at"] is not None
    second = operator.good("POST", "/v1/backfills", asked)["id"]
    page = operator.good("GET", f"/v1/backfills?webhook={hook}&limit=1")
    assert [one["id"] for one in page["items"]] == [second]
    page = operator.good("GET", f"/v1/backfills?webhook={hook}&limit=1&after={page['next']}")
    assert ([one["id"] for one in page["items"]], page["next"]) == ([made["id"]], None)
    noted = operator.good("GET", f"/v1/audit?webhook={hook}")["items"]
    assert {one["action"] for one in noted} >= {
        "backfill.start", "backfill.pause", "backfill.resume", "backfill.cancel",
    }  # fmt: skip
    assert operator.good("POST", f"/v1/backfills/{second}/cancel", {})["state"] == "cancelled"


def test_an_event_that_is_not_the_webhooks(operator: Client) -> None:
    hook = operator.good(
        "POST",
        "/v1/companies/78/webhooks",
        {"events": ["note_changed"], "endpoint": "http://127.0.0.1:9/78"},
    )["id"]
    asked = {"webhook": hook, "event": "candidate_changed", "action": "created"}
    answer = operator("POST", "/v1/backfills", asked)
    assert (answer.status, problem(answer)["errors"][0]["field"]) == (422, "event")
    assert operator.refused("POST", "/v1/backfills", {**asked, "webhook": 4711})[0] == 404
    assert operator.refused("POST", "/v1/backfills", {**asked, "dry_run": True})[0] == 422
    assert operator.refused("GET", "/v1/backfills/4711") == (404, "not_found")


def test_a_cursor_behind_a_backfilled_row(served: Served, operator: Client) -> None:
    """Their numbers are below 0."""
    hook = operator.good(
        "POST",
        "/v1/companies/79/webhooks",
        {"events": ["note_changed"], "endpoint": "http://127.0.0.1:9/79"},
    )["id"]
    served.run(
        "insert into cdc.queue (id, webhook_id, layout, action, time, refs)"
        " select cdc.new_id() - 4503599627370496, %s, id, 'c', now(), array[null, '79', g::text]"
        "  from cdc.layout, generate_series(1, 3) g where event = 'project_changed'",
        hook,
    )
    seen: list[str] = []
    after = ""
    for _ in range(4):
        page = operator.good("GET", f"/v1/webhooks/{hook}/deliveries?limit=1{after}")
        seen += [one["key"] for one in page["items"]]
        after = f"&after={page['next']}"
    assert seen == ["1", "2", "3"]
