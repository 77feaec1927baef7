"""Deliveries are searched across webhooks: over the API, and in console and portal."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import quote

import psycopg
import pytest

from tests.web.browser import person
from tests.web.kit import Client, Served

LOG = """
insert into cdc.attempt (slot, at, delivery, xid, uid, webhook_id, layout, action, time, refs, try,
                         outcome, status)
select (extract(epoch from x.at)::bigint / 86400) %% 32, x.at, n, n::text::xid8,
       gen_random_uuid(), %(webhook)s, l.id, 'm', x.at - interval '1 s',
       array['1', '1', (n %% 10)::text], 1, 'delivered', 200
  from cdc.layout l, generate_series(%(first)s::int, %(last)s::int, %(step)s::int) n,
       lateral (select now() - (%(last)s::int + 1 - n) * %(apart)s::interval as at) x
 where l.event = %(event)s
"""
PLACES = """
with l as (select id, event from cdc.layout where event = 'candidate_changed'), q as (
  insert into cdc.queue (webhook_id, layout, action, time, refs)
  select %(webhook)s, id, 'c', now(), array['1', '1', 'queued'] from l
), r as (
  insert into cdc.retry (webhook_id, id, uid, xid, layout, action, time, refs, event, key, tries,
                         due_at, last_status)
  select %(webhook)s, 11, gen_random_uuid(), '5011', id, 'm', now(), '{1,1,retried}', event,
         'retried', 2, now(), 500 from l
)
insert into cdc.dead (webhook_id, id, uid, xid, layout, action, time, refs, event, key, attempts,
                      tries, last_error)
select %(webhook)s, 12, gen_random_uuid(), '5012', id, 'm', now(), '{1,1,dead}', event, 'dead', 1,
       1, 'tls' from l
"""


@pytest.fixture(scope="module")
def operator(served: Served) -> Client:
    return served.client("operator")


class Logged(NamedTuple):
    first: int
    second: int
    at: datetime


@pytest.fixture(scope="module")
def webhooks(served: Served, operator: Client) -> Logged:
    """Of company 4: what they log alternates, a change each 30 s. One of company 5, too."""
    first, second, other = (hook(operator, company, n) for n, company in enumerate("445"))
    at = datetime.now(UTC)
    log(served, first, 1, 120, 2, event="candidate_changed")
    log(served, second, 2, 120, 2, event="rating_changed")
    log(served, other, 1, 5)
    places(served, first)
    places(served, other)
    return Logged(first, second, at)


def hook(operator: Client, company: str, n: int) -> int:
    body = {"events": ["candidate_changed"], "endpoint": f"http://127.0.0.1:9/{n}"}
    return int(operator.good("POST", f"/v1/companies/{company}/webhooks", body)["id"])


def log(served: Served, webhook: int, first: int, last: int, step: int = 1, **more: Any) -> None:
    asked = {"event": "candidate_changed", "apart": "30 s", **more}
    asked |= {"webhook": webhook, "first": first, "last": last, "step": step}
    with psycopg.connect(served.database, autocommit=True) as conn:
        conn.execute(LOG.encode(), asked)


def places(served: Served, webhook: int) -> None:
    with psycopg.connect(served.database, autocommit=True) as conn:
        conn.execute(PLACES.encode(), {"webhook": webhook})


def found(client: Client, query: str, limit: int = 50) -> list[dict[str, Any]]:
    """On all pages."""
    return [one for page in pages(client, query, limit) for one in page["items"]]


def pages(client: Client, query: str, limit: int) -> Iterator[dict[str, Any]]:
    after = ""
    for _ in range(100):
        page = client.good("GET", f"/v1/deliveries?{query}&limit={limit}{after}")
        yield page
        if page["next"] is None:
            return
        after = f"&after={page['next']}"
    raise AssertionError("the pages do not end")


def ago(minutes: float, begun: datetime | None = None) -> str:
    """Before now, or before the log was written."""
    return quote(((begun or datetime.now(UTC)) - timedelta(minutes=minutes)).isoformat())


@pytest.mark.parametrize("limit", [7, 200])
def test_what_a_company_was_sent_is_merged(operator: Client, webhooks: Logged, limit: int) -> None:
    """Of several webhooks, the newest changes first, each once, wherever it is."""
    items = found(operator, "company=4", limit)
    assert {one["company"] for one in items} == {"4"}
    assert len(items) == len({one["uid"] for one in items}) == 123
    assert [one["key"] for one in items[:3]] in (
        ["dead", "retried", "queued"], ["queued", "dead", "retried"],
    )  # fmt: skip
    logged = [one["id"] for one in items if one["state"] == "delivered"]
    assert logged == sorted(range(1, 121), reverse=True)


def test_it_is_narrowed(operator: Client, webhooks: Logged) -> None:
    first, second, at = webhooks
    for query, there in (
        (f"webhook={first}", 63), (f"company=4&webhook={second}", 60),
        (f"company=5&webhook={second}", 0), ("company=no-such", 0),
        ("company=4&event=rating_changed", 60), ("company=4&row=3", 12), ("company=4&row=x", 0),
        ("company=4&state=dead", 1), ("company=4&state=waiting", 2),
        ("company=4&state=retrying", 1),
        ("company=4&state=delivered&event=rating_changed&row=4", 12),
        (f"company=4&since={ago(20, at)}", 43), (f"company=4&until={ago(20, at)}", 80),
        (f"company=4&since={ago(30, at)}&until={ago(20, at)}", 20),
        (f"company=4&since={ago(4320, at)}&until={ago(2880, at)}", 0),
    ):  # fmt: skip
        for limit in (9, 200):
            items = found(operator, query, limit)
            assert abs(len(items) - there) <= ("%3A" in query), query
    for state, key in (("queued", "queued"), ("retrying", "retried"), ("dead", "dead")):
        assert [one["key"] for one in found(operator, f"company=4&state={state}")] == [key]


def test_without_a_company_it_is_what_all_owe(operator: Client, webhooks: Logged) -> None:
    for query, there in (
        ("", ["dead", "dead", "queued", "queued", "retrying", "retrying"]),
        ("state=dead", ["dead"] * 2), ("state=waiting&row=retried", ["retrying"] * 2),
        ("event=rating_changed", []), (f"until={ago(20, webhooks.at)}", []),
    ):  # fmt: skip
        for limit in (1, 50):
            items = found(operator, query, limit)
            mine = [one["state"] for one in items if one["company"] in ("4", "5")]
            assert sorted(mine) == there, query
    assert operator.good("GET", "/v1/deliveries?company=4")["webhooks"] == 2


def test_a_delivery_that_was_sent_again_is_where_it_waits(
    served: Served, operator: Client, webhooks: Logged
) -> None:
    (one,) = found(operator, "company=5&row=2&state=delivered")
    served.run(
        "insert into cdc.retry (webhook_id, id, uid, xid, layout, action, time, refs, event, key,"
        " due_at) select webhook_id, delivery, uid, xid, layout, action, time, refs,"
        " 'candidate_changed', '2', now() from cdc.attempt where uid = %s", one["uid"],
    )  # fmt: skip
    assert [again["state"] for again in found(operator, "company=5&row=2")] == ["retrying"]
    served.run("delete from cdc.retry where uid = %s", one["uid"])


def test_a_page_looks_at_so_much_and_says_how_far(served: Served, operator: Client) -> None:
    """Of 4,000 changes the oldest: no page reads all of them, and a time is sought."""
    number = hook(operator, "6", 6)
    log(served, number, 1, 4000, apart="1 s")
    served.run(
        "update cdc.attempt set refs = '{1,1,sought}' where webhook_id = %s and delivery = 3",
        number,
    )
    each = list(pages(operator, f"webhook={number}&row=sought", 50))
    assert [len(page["items"]) for page in each] == [0, 0, 0, 1, 0]
    looked = [page["looked_until"] for page in each]
    assert looked[-1] is None
    assert looked[:-1] == sorted(set(looked[:-1]), reverse=True)
    query = f"webhook={number}&row=sought&until={ago(54)}"
    (page,) = pages(operator, query, 50)
    assert len(page["items"]) == 1
    recent = list(pages(operator, f"webhook={number}&row=sought&since={ago(10)}", 50))
    assert len(recent) == 1  # what was changed before is not walked through


def test_a_busy_webhook_does_not_hide_a_quiet_one(served: Served, operator: Client) -> None:
    """What lies behind the place at which a list was left is for the next page; and a time ends
    where it ends, in the log of each."""
    busy, quiet = hook(operator, "8", 8), hook(operator, "8", 9)
    at = datetime.now(UTC)
    log(served, busy, 1, 3000, apart="1 s")
    log(served, quiet, 5, 3000, 300, apart="1 s")
    items = found(operator, "company=8&row=5", 200)
    places = [(one["id"], one["uid"]) for one in items]
    assert places == sorted(set(places), reverse=True)
    assert len(items) == 310
    assert sum(one["webhook"] == quiet for one in items) == 10
    until = at - timedelta(minutes=30)
    page = next(pages(operator, f"company=8&until={quote(until.isoformat())}", 1))
    newest = datetime.fromisoformat(page["items"][0]["time"])
    assert until - timedelta(seconds=5) < newest < until


def test_a_search_says_of_what(served: Served, operator: Client) -> None:
    number = hook(operator, "7", 7)
    for query, field in (
        ("state=delivered", "company"), ("state=dropped&row=1", "company"),
        ("company=4&state=lost", "state"),
        ("company=4&since=yesterday", "since"), ("webhook=x", "webhook"),
    ):  # fmt: skip
        answer = operator("GET", f"/v1/deliveries?{query}")
        assert answer.status == 422, query
        assert [one["field"] for one in answer.json["errors"]] == [field]
    assert operator.refused("GET", "/v1/deliveries?webhook=4711") == (404, "not_found")
    for bad in ("x", "W10", "WzEsMiwieCJd"):
        got = operator.refused("GET", f"/v1/deliveries?company=4&after={bad}")
        assert got == (400, "invalid_cursor"), bad
    # Keys of a company and of a webhook search their own without a word.
    places(served, number)
    for scope in ("company:7", f"webhook:{number}"):
        own = found(served.client(scope), "state=dead")
        assert [(one["webhook"], one["key"]) for one in own] == [(number, "dead")]
        refused = served.client(scope).refused("GET", "/v1/deliveries?company=4")
        assert refused == (404, "not_found")


async def test_the_console_searches(served: Served, webhooks: Logged) -> None:
    async with person(served.url) as one:
        await one.sign_in(served.client("read").key or "")
        page = await one.get("/deliveries")
        assert "Of all companies, what waits or is dead is listed." in page.text
        assert page.text.count("candidate_changed, modified") >= 4
        page = await one.get("/deliveries?state=delivered")
        assert (page.status, "without, only what waits or is dead is searched" in page.text) == (
            422, True,
        )  # fmt: skip
        page = await one.get("/company?name=4")
        assert "/console/deliveries?company=4" in page.links
        page = await one.get(
            "/deliveries?company=4&webhook=&event=rating_changed&row=4&state=&uid="
        )
        assert page.text.count("rating_changed, modified") == 12
        assert f"/console/webhooks/{webhooks[1]}" in page.links
        page = await one.get("/deliveries?company=4")
        (older,) = (link for link in page.links if "after=" in link)
        page = await one.get(older.removeprefix("/console"))
        assert "The newest" in page.text
        page = await one.get("/deliveries?company=4&state=expired")
        assert "Nothing was found. Search an earlier time" in page.text
        for bad, words in (
            ("uid=x", "not a webhook-id such as"), ("company=4&since=now", "not a time such as"),
            ("webhook=x", "expected a whole number"), ("webhook=4711", "There is no such webhook."),
            ("company=4&state=lost", "state: expected 'queued'"),
        ):  # fmt: skip
            page = await one.get(f"/deliveries?{bad}")
            assert page.status in (404, 422), bad
            assert words in page.text, page.text
        assert (await one.get("/deliveries?company=4&after=x")).status == 400
        uid = "00000000-0000-4000-8000-000000000001"
        page = await one.get(f"/deliveries?uid={uid}", follow=False)
        assert page.headers["Location"] == f"/console/deliveries/{uid}"
