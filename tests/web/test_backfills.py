"""Backfills over the API."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.web.browser import Person, person
from tests.web.kit import Client, Served, problem


@pytest.fixture(scope="module")
def operator(served: Served) -> Client:
    return served.client("operator")


def registered(operator: Client, company: int, *events: str) -> int:
    body = {"events": events, "endpoint": f"http://127.0.0.1:9/{company}"}
    return int(operator.good("POST", f"/v1/companies/{company}/webhooks", body)["id"])


def test_started_listed_and_ended(served: Served, operator: Client) -> None:
    hook = registered(operator, 77, "candidate_changed")
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
    hook = registered(operator, 78, "note_changed")
    asked = {"webhook": hook, "event": "candidate_changed", "action": "created"}
    answer = operator("POST", "/v1/backfills", asked)
    assert (answer.status, problem(answer)["errors"][0]["field"]) == (422, "event")
    assert operator.refused("POST", "/v1/backfills", {**asked, "webhook": 4711})[0] == 404
    assert operator.refused("POST", "/v1/backfills", {**asked, "dry_run": True})[0] == 422
    assert operator.refused("GET", "/v1/backfills/4711") == (404, "not_found")


def test_a_time_where_the_mapping_names_no_column_for_it(operator: Client) -> None:
    hook = registered(operator, 79, "candidate_changed")
    asked = {"webhook": hook, "event": "candidate_changed", "action": "modified"}
    answer = operator("POST", "/v1/backfills", {**asked, "since": "2026-01-31T10:00:00Z"})
    assert answer.status == 422
    assert "cannot be selected by time" in problem(answer)["detail"]


def test_a_cursor_behind_a_backfilled_row(served: Served, operator: Client) -> None:
    """Their numbers are below 0."""
    hook = registered(operator, 79, "note_changed")
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


@pytest.fixture
async def helpdesk(served: Served) -> AsyncIterator[Person]:
    async with person(served.url) as one:
        await one.sign_in(served.client("admin").key or "")
        yield one


async def test_the_console_counts_first_and_asks_before_each_change(
    served: Served, operator: Client, helpdesk: Person
) -> None:
    hook = registered(operator, 81, "candidate_changed", "note_changed")
    served.run("insert into company values (81)")
    served.run("insert into project (id, company_id) values (811, 81)")
    served.run("insert into candidate (project_id) select 811 from generate_series(1, 3)")
    one = f"/webhooks/{hook}"
    assert f"/console{one}/backfills" in (await helpdesk.get(one)).links
    page = await helpdesk.get(f"{one}/backfills")
    assert "There is none." in page.text
    assert f"/console{one}/backfill" in page.links
    page = await helpdesk.get(f"{one}/backfill")
    assert "Count them" in page.text
    assert "Start" not in page.text.replace("Start a backfill", "")
    page = await helpdesk.get(f"{one}/backfill?event=note_changed&action=created")
    assert "There is no row that the webhook wants." in page.text
    page = await helpdesk.get(f"{one}/backfill?event=rating_changed&action=created")
    assert (page.status, "is not registered for rating_changed" in page.text) == (422, True)
    chosen = f"{one}/backfill?event=candidate_changed&action=modified"
    page = await helpdesk.get(chosen)
    assert "Send 3 deliveries?" in page.text
    assert "3 rows will be read" in page.text
    assert operator.good("GET", f"/v1/backfills?webhook={hook}")["items"] == []
    page = await helpdesk.send(f"{one}/backfill", page.hidden.items())
    assert (page.status, page.path.rpartition("/")[0]) == (200, "/console/backfills")
    assert "It continues" in page.text
    shown = page.path.removeprefix("/console")
    again = await helpdesk.send(f"{one}/backfill", (await helpdesk.get(chosen)).hidden.items())
    assert (again.status, "has not ended" in again.text) == (409, True)
    for what, state in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
        assert f"/console{shown}/{what}" in page.links
        asked = await helpdesk.get(f"{shown}/{what}")
        assert operator.good("GET", f"/v1{shown}")["state"] != state
        page = await helpdesk.send(f"{shown}/{what}", asked.hidden.items())
        assert (page.path, operator.good("GET", f"/v1{shown}")["state"]) == (
            f"/console{shown}",
            state,
        )
    late = await helpdesk.send(f"{shown}/cancel", asked.hidden.items())
    assert late.status in (200, 409)
    assert operator.good("GET", f"/v1{shown}")["state"] == "cancelled"
    page = await helpdesk.get(f"{one}/backfills")
    assert "cancelled" in page.text
    assert f"/console{shown}" in page.links


async def test_who_may_only_look_sees_backfills_without_buttons(
    served: Served, operator: Client
) -> None:
    hook = registered(operator, 82, "candidate_changed")
    asked = {"webhook": hook, "event": "candidate_changed", "action": "created"}
    made = operator.good("POST", "/v1/backfills", asked)["id"]
    served.run("update cdc.backfill set state = 'failed', reason = 'x' where id = %s", made)
    async with person(served.url) as reader:
        await reader.sign_in(served.key("read"))
        page = await reader.get(f"/backfills/{made}")
        assert "It has failed: x" in page.text
        assert not [link for link in page.links if link.endswith(("/resume", "/cancel"))]
        assert (await reader.get(f"/webhooks/{hook}/backfills")).status == 200
        assert (await reader.get(f"/webhooks/{hook}/backfill")).status == 403
        assert (await reader.get(f"/backfills/{made}/resume")).status == 403
        assert (await reader.get("/backfills/99999")).status == 404
