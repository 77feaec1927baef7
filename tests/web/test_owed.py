"""The list of what was owed to a webhook, over the API: pages, states, filters, cursors."""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from cdc.web.delivery_models import DeliveryPage
from tests.web.kit import Answer, Client, Served, problem, until
from tests.web.test_deliveries import DEAD, hook


@pytest.fixture(scope="module")
def operator(served: Served) -> Client:
    return served.client("operator")


def pages(client: Client, number: int, query: str = "", after: str = "") -> Iterator[Any]:
    """Pages of the list until there is no more now."""
    more = True
    while more:
        cursor = f"&after={after}" if after else ""
        page = client.good("GET", f"/v1/webhooks/{number}/deliveries?limit=3{query}{cursor}")
        yield page
        after, more = page["next"], page["more"]


def test_each_delivery_is_on_one_page(served: Served, operator: Client) -> None:
    number = hook(served, operator, "1", 7)
    wanted = served.rows("select uid::text from cdc.dead where webhook_id = %s order by id", number)
    found = list(pages(operator, number))
    seen = [one for page in found for one in page["items"]]
    assert [one["uid"] for one in seen] == [row[0] for row in wanted]
    assert (seen[0]["state"], seen[0]["status"], seen[0]["key"]) == ("dead", 500, "1")
    assert seen[0]["data"] == {
        "action": "modified",
        "project": "https://interview-suite.com/api/v3/companies/1/projects/2/",
        "candidate": "https://interview-suite.com/api/v3/companies/1/projects/2/candidates/1/",
    }
    assert seen[0]["body"] is None
    # Nothing is new: there is a place to go on from nevertheless, and it is final until now.
    (page,) = pages(operator, number, after=found[-1]["next"])
    assert (page["items"], page["more"]) == ([], False)
    assert page["final_until"] > found[-1]["final_until"]
    served.run(DEAD, number, number * 1_000_000 + 100, 1)
    (page,) = pages(operator, number, after=page["next"])
    assert [one["id"] for one in page["items"]] == [number * 1_000_000 + 101]


def test_a_page_is_read_without_a_transaction(served: Served, operator: Client) -> None:
    """By the process, too: the last statement of the session that read it is the page. How many
    there are is counted in test_process.py."""
    number = hook(served, operator, "4", 1)
    read = "select from pg_stat_activity where usename = %s and state = 'idle' and query ~ %s"

    def page() -> object:
        operator.good("GET", f"/v1/webhooks/{number}/deliveries")
        return served.rows(read, served.user, "reach_xid")

    until(page)


def test_a_page_is_written_as_its_model_would_write_it(served: Served, operator: Client) -> None:
    """Byte by byte: fields, their order, forms of times and of what is left out."""
    number = hook(served, operator, "2", 6)
    served.run(
        "update cdc.dead set time = %s where webhook_id = %s and id %% 10 = 2",
        *("2026-01-31T10:00:00Z", number),
    )
    served.run(
        "update cdc.dead set refs = %s where webhook_id = %s and id %% 10 = 3",
        *(["b", "1", "é\u2028", '"\\/'], number),
    )
    served.run(
        "update cdc.dead set refs = '{x}', body = %s where webhook_id = %s and id %% 10 = 4",
        *(b"\xff", number),
    )
    (first, *_) = (one for page in pages(operator, number) for one in page["items"])
    operator.good("POST", f"/v1/deliveries/{first['uid']}/retry")
    for query in ("", "?body=true"):
        answer = operator("GET", f"/v1/webhooks/{number}/deliveries{query}")
        page = DeliveryPage.model_validate_json(answer.body)
        assert len(page.items) == 6
        assert page.model_dump_json().encode() == answer.body


def test_a_replayed_delivery_keeps_its_place(served: Served, operator: Client) -> None:
    """Where it waits counts, not how it has ended before."""
    number = hook(served, operator, "1", 3)
    served.run(
        "insert into cdc.attempt (slot, at, delivery, xid, uid, webhook_id, layout, action, time,"
        " refs, try, outcome) select n, now() - n * interval '1 day', id, xid, uid, webhook_id,"
        " layout, action, time, refs, 1, outcome from cdc.dead, (values (3, 'expired'),"
        " (2, 'delivered'), (1, 'failed')) o (n, outcome) where webhook_id = %s",
        number,
    )
    served.run("delete from cdc.dead where webhook_id = %s and id %% 10 > 1", number)
    states = [one["state"] for page in pages(operator, number) for one in page["items"]]
    assert states == ["dead", "delivered", "delivered"]
    again = [one["uid"] for page in pages(operator, number) for one in page["items"]][:2]
    for uid in again:
        operator.good("POST", f"/v1/deliveries/{uid}/retry")
    states = [one["state"] for page in pages(operator, number) for one in page["items"]]
    assert states == ["retrying", "retrying", "delivered"]
    operator.good("POST", f"/v1/webhooks/{number}/pause")
    states = [one["state"] for page in pages(operator, number) for one in page["items"]]
    assert states == ["held", "held", "delivered"]


def test_the_list_is_filtered_and_has_payloads(served: Served, operator: Client) -> None:
    number = hook(served, operator, "1", 8)
    body = b'{"endpoint": "x", "data": {"action": "modified", "candidate": "kept"}}'
    served.run("update cdc.dead set body = %s where webhook_id = %s and id %% 10 = 2", body, number)
    first, second, *_ = (
        one for page in pages(operator, number, "&body=true") for one in page["items"]
    )
    made = json.loads(first["body"])
    assert made["endpoint"] == "http://127.0.0.1:9/1/8"
    assert made["event"] == "candidate_changed"
    assert (made["data"], second["body"].encode()) == (first["data"], body)
    assert second["data"] == {"action": "modified", "candidate": "kept"}
    for query, there in (
        ("&state=dead", 8), ("&state=waiting", 0), ("&state=delivered", 0),
        ("&event=candidate_changed", 8), ("&event=rating_changed", 0),
        ("&since=2999-01-01T00:00:00Z", 0), ("&since=2001-01-01T00:00:00Z", 8),
    ):  # fmt: skip
        found = [one["id"] for page in pages(operator, number, query) for one in page["items"]]
        assert (len(found), found) == (there, sorted(set(found))), query


def test_a_client_that_has_read_all_reads_the_newest_days_of_the_log(
    served: Served, operator: Client
) -> None:
    """What is logged later has ended later. A page in the middle, or of a filter, has not read all;
    neither has one behind which there is something already, because a writer is open."""
    number = hook(served, operator, "4", 4)
    path = f"/v1/webhooks/{number}/deliveries"

    def day_of(query: str) -> Any:
        return decoded(operator.good("GET", f"{path}?{query}")["next"])[-1]

    middle = operator.good("GET", f"{path}?limit=3")["next"]
    assert decoded(middle)[-1] == 0
    assert day_of("state=dead") == day_of("since=2001-01-01T00:00:00Z") == 0
    until(lambda: day_of("") > 0)  # no other test's writer is open
    everything = operator.good("GET", path)["next"]
    assert abs(decoded(everything)[-1] - time.time() // 86_400) <= 1
    # It is kept by what follows, and costs nothing of older days.
    assert day_of(f"after={everything}&state=dead") == decoded(everything)[-1]
    served.run(
        "insert into cdc.attempt (slot, at, delivery, xid, uid, webhook_id, layout, action, time,"
        " refs, try, outcome) select extract(epoch from now())::bigint / 86400 %% 32 # 16, now(),"
        " id + 1000, '1', gen_random_uuid(), webhook_id, layout, action, time, refs, 1,"
        " 'delivered' from cdc.dead where webhook_id = %s limit 1",
        number,
    )
    assert operator.good("GET", f"{path}?after={everything}")["items"] == []
    assert len(operator.good("GET", f"{path}?after={middle}")["items"]) == 2
    with psycopg.connect(served.database) as writer:
        writer.execute("select pg_current_xact_id()")
        served.run(DEAD, number, number * 1_000_000 + 100, 1)
        served.run(
            "update cdc.dead set xid = pg_current_xact_id()"
            " where webhook_id = %s and id %% 1000 = 101",
            number,
        )
        assert day_of("") == 0


def test_what_a_dump_brought_along_from_the_future_is_left_out(
    served: Served, operator: Client
) -> None:
    """Of a server that had given more transaction ids: it would stand before what is new."""
    number = hook(served, operator, "1", 6)
    served.run(
        "update cdc.dead set xid ="
        " (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + 1000000)::text::xid8"
        " where webhook_id = %s and id %% 10 > 3",
        number,
    )
    found = list(pages(operator, number))
    assert len([one for page in found for one in page["items"]]) == 3
    served.run(DEAD, number, number * 1_000_000 + 100, 1)
    (page,) = pages(operator, number, after=found[-1]["next"])
    assert [one["id"] for one in page["items"]] == [number * 1_000_000 + 101]
    uid = served.rows(
        "select uid::text from cdc.dead where webhook_id = %s and id %% 10 = 5", number
    )[0][0]
    [one] = operator.good("GET", f"/v1/deliveries/{uid}")["items"]
    assert one["state"] == "dead"


def test_a_cursor_that_cannot_go_on_says_from_where(served: Served, operator: Client) -> None:
    number, other = hook(served, operator, "1", 4), hook(served, operator, "1", 5)
    first = next(pages(operator, number))
    path = f"/v1/webhooks/{number}/deliveries?after="
    identity, webhook, xid, delivery, kept, day = decoded(first["next"])
    for bad in (
        next(pages(operator, other))["next"], "x", "W10", cursor(1, 2, 3, 4, 5, 6),
        cursor(identity, webhook, -1, delivery, kept, day),
        cursor(identity, webhook, xid, delivery, kept, -1),
        cursor(identity, webhook, 2**63, 1, 1, day), cursor(identity, webhook, xid, 1, kept),
    ):  # fmt: skip
        assert operator.refused("GET", path + bad) == (400, "invalid_cursor")
    # A restored copy, a promoted standby: it begins again. So does what is ahead of this one.
    for elsewhere in (
        cursor("0" * 12, webhook, xid, delivery, kept, day),
        cursor(identity, webhook, 2**62, delivery, 2**62, day),
    ):
        found = gone(operator("GET", path + elsewhere))
        everything = [one for page in pages(operator, number, after=found) for one in page["items"]]
        assert [one["id"] % 10 for one in everything] == [1, 2, 3, 4]
    # Pruning has removed what may have been behind it: it goes on with what is left.
    served.run("update cdc.installation set log_pruned = %s::text::xid8", kept + 1)
    try:
        found = gone(operator("GET", path + first["next"]))
        rest = [one for page in pages(operator, number, after=found) for one in page["items"]]
        assert [one["id"] % 10 for one in rest] == [4]
        # One that has read all until now has missed nothing, and neither has one that begins.
        assert len([one for page in pages(operator, number) for one in page["items"]]) == 4
    finally:
        served.run("update cdc.installation set log_pruned = '0'")


def decoded(text: str) -> Any:
    return json.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def cursor(*parts: str | int) -> str:
    return urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


def gone(answer: Answer) -> str:
    """The cursor that a problem document gives."""
    found = problem(answer)
    assert (answer.status, found["code"]) == (410, "cursor_gone")
    return str(found["restart"])
