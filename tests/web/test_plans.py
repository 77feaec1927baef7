"""What pages read of large tables: a few rows, by index, whatever waits or was logged.

PostgreSQL counts what a transaction has read of each table, whatever the plan was.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from cdc.diagnosis import deliveries, explain, health
from cdc.diagnosis.deliveries import DeliveryKey
from cdc.diagnosis.newest import ENDED_SCAN_ROWS, QUEUE_SCAN_ROWS, Before, newest
from cdc.diagnosis.search import (
    OWING_WEBHOOKS,
    SCAN_ROWS,
    SEEK_STEPS,
    WEBHOOK_ROWS,
    DeliverySearch,
    search,
)
from cdc.mapping import default_mapping
from cdc.postgres import connections
from cdc.sandbox.embedded import EmbeddedPostgres
from cdc.webhooks import audit, backfills, notices, statements
from cdc.webhooks.audit import AuditFilter
from cdc.webhooks.notices import NoticeFilter
from tests.conftest import fresh_database
from tests.support import installation
from tests.support.filled import FILL

# Of one webhook, 5: much is delivered, little is expired. Newer than what else there is.
MORE = """
insert into cdc.attempt (slot, at, delivery, uid, webhook_id, layout, action, "time", refs, try,
                         outcome, xid)
select g % 4, now() - g * interval '1 s', g, gen_random_uuid(), 5 + g % 2, 1, 'm', now(), '{x}', 1,
       case when g % 1000 = 0 then 'expired' else 'delivered' end, '2'
  from generate_series(1, 40000) g;
insert into cdc.audit (actor, action, company, webhook_id)
select 'me', 'webhook.update', (g % 100)::text, g % 100 from generate_series(1, 20000) g;
"""
CROWD = """
insert into cdc.webhook (company, endpoint, ref)
select (g % 100)::text, 'https://abc.com/' || g, g::text from generate_series(1, 10000) g;
insert into cdc.subscription (company, event, webhook_id)
select company, event, id
  from cdc.webhook, unnest('{candidate_changed,note_changed}'::text[]) event;
insert into cdc.subscription (company, event, webhook_id)
select company, 'rating_changed', id from cdc.webhook where id % 500 = 7;
"""
LARGE = r"^(attempt.*|queue|retry|dead|audit|notice|backfill)$"
LIMIT = 20


@pytest.fixture(scope="module")
def full(postgres: EmbeddedPostgres, admin: psycopg.Connection, template_db: str) -> Iterator[str]:
    """Never analyzed: the queue was empty a moment ago."""
    for url in fresh_database(postgres, admin, template_db):
        installation.adopt(url)
        with psycopg.connect(url, autocommit=True) as conn:
            conn.execute("set synchronous_commit = off")
            conn.execute((FILL + MORE).encode())
        yield url


@pytest.fixture(scope="module")
def crowded(
    postgres: EmbeddedPostgres, admin: psycopg.Connection, template_db: str
) -> Iterator[str]:
    """10,000 webhooks of 100 companies."""
    for url in fresh_database(postgres, admin, template_db):
        installation.adopt(url)
        with psycopg.connect(url, autocommit=True) as conn:
            conn.execute(CROWD.encode())
            conn.execute("analyze cdc.webhook, cdc.subscription")
        yield url


class Reading:
    """What was read of large tables in this transaction, by whole scans and by index."""

    def __init__(self, url: str, keep: int = 0) -> None:
        self._engine = connections.engine(url, keep=keep)

    def __enter__(self) -> Reading:
        self.sa = self._engine.connect()
        self.sa.begin()
        driver = self.sa.connection.driver_connection
        assert isinstance(driver, connections.Connection)
        self.conn: psycopg.Connection[Any] = driver
        return self

    def __exit__(self, *_: object) -> None:
        self.sa.close()
        self._engine.dispose()

    def rows(self, tables: str = LARGE) -> tuple[int, int]:
        counted = sa.text(
            "select coalesce(sum(seq_tup_read), 0), coalesce(sum(idx_tup_fetch), 0)"
            "  from pg_stat_xact_user_tables where schemaname = 'cdc' and relname ~ :large"
        )
        scanned, fetched = self.sa.execute(counted, {"large": tables}).one()
        return int(scanned), int(fetched)


@pytest.mark.parametrize(
    ("state", "bound"),
    [
        (None, QUEUE_SCAN_ROWS + 5 * LIMIT + 32),
        ("waiting", QUEUE_SCAN_ROWS + 2 * LIMIT),
        ("dead", LIMIT),
        ("delivered", 2 * LIMIT + 32),
        ("expired", ENDED_SCAN_ROWS),
    ],
)
@pytest.mark.parametrize("webhook", [5, 199], ids=["much", "little"])
def test_the_newest_deliveries_of_a_webhook(
    full: str, state: str | None, bound: int, webhook: int
) -> None:
    """A day of a busy webhook's log took 600 ms."""
    with Reading(full) as reading:
        found = newest(reading.conn, webhook, LIMIT, state)
        assert found or webhook == 199
        assert reading.rows() <= (0, bound)
        if found:
            last = found[-1]
            before = Before(last["xid"], last["id"], last["webhook_id"])
            newest(reading.conn, webhook, LIMIT, state, before)
        scanned, fetched = reading.rows()
        assert scanned == 0
        assert fetched <= 2 * bound + 2


def test_pages_of_the_newest_have_each_delivery_once(full: str) -> None:
    with Reading(full) as reading:
        whole = newest(reading.conn, 3, 10_000)
        seen: list[Any] = []
        place = None
        while page := newest(reading.conn, 3, 700, None, *([place] if place else [])):
            seen += page
            place = Before(page[-1]["xid"], page[-1]["id"], page[-1]["webhook_id"])
        kept = "select count(*) from cdc.{} where webhook_id = 3"
        there = [
            reading.conn.execute(kept.format(name).encode()).fetchone() or (0,)
            for name in ("queue", "retry", "dead", "attempt")
        ]
    order = [(one["xid"], one["id"], one["webhook_id"]) for one in seen]
    assert order == sorted(set(order), reverse=True)
    assert len(seen) == len(whole) == sum(count for (count,) in there)
    assert {one["state"] for one in seen} >= {"queued", "retrying", "dead", "delivered"}


@pytest.mark.parametrize(
    "webhooks", [[5], [199], list(range(1, 101))], ids=["much", "little", "100"]
)
@pytest.mark.parametrize("hours", [None, 2], ids=["now", "before"])
def test_a_search_across_webhooks(full: str, webhooks: list[int], hours: int | None) -> None:
    """Of each place a part, whatever there is, and of the partitions of the log those of the time;
    the end of a time is sought in the log by halves."""
    now = datetime.now(UTC)
    until = None if hours is None else now - timedelta(hours=hours)
    bound = 4 * max(SCAN_ROWS, 25 * len(webhooks)) + (10 * SEEK_STEPS if hours else 0)
    with Reading(full) as reading:
        wanted = DeliverySearch(since=now - timedelta(days=1), until=until, key="no-such")
        found = search(reading.conn, webhooks, wanted, LIMIT)
        assert found.items == []
        assert reading.rows() <= (0, bound + len(webhooks) + 200)


def test_a_search_of_what_all_owe(full: str) -> None:
    with Reading(full) as reading:
        since = datetime.now(UTC) - timedelta(days=1)
        assert search(reading.conn, None, DeliverySearch(since), LIMIT).items
        scanned, fetched = reading.rows()
        assert scanned == 0
        sorted_at_once = 32  # rows of an incremental sort, at least
        assert fetched <= 3 * OWING_WEBHOOKS * (WEBHOOK_ROWS + sorted_at_once) + 200


@pytest.mark.parametrize(
    ("wanted", "most"),
    [
        ({}, LIMIT),
        ({"after": 5000}, LIMIT),
        ({"event": "note_changed"}, LIMIT),
        ({"event": "note_changed", "after": 5000}, LIMIT),
        ({"event": "rating_changed"}, 100),
        ({"company": "7"}, 100),
        ({"company": "7", "after": 5000}, 100),
        ({"company": "7", "ref": "5007"}, 1),
    ],
    ids=str,
)
def test_a_page_of_webhooks_does_not_read_the_others(
    crowded: str, wanted: dict[str, Any], most: int
) -> None:
    """Also by the plan that is kept for all parameters: of 100,000 it sorted all, in 92 ms."""
    times = 2 * connections.PREPARED_AFTER + 5
    with Reading(crowded, keep=1) as reading:
        for _ in range(times):
            assert statements.search(reading.sa, most=LIMIT, **wanted)
        scanned, fetched = reading.rows("^(webhook|subscription)$")
    # For a rare event, what all want is gone through once; else all webhooks would be.
    assert scanned == 0 or "rating_changed" in wanted.values()
    # Of each on the page its events, five times.
    assert fetched <= times * (most + min(most, LIMIT) * 15)


def test_other_pages(full: str) -> None:
    with Reading(full) as reading:
        statements.search(reading.sa, "1", most=LIMIT)
        audit.entries(reading.sa, AuditFilter(limit=LIMIT))
        audit.entries(reading.sa, AuditFilter(limit=LIMIT, company="7"))
        audit.entries(reading.sa, AuditFilter(limit=LIMIT, webhook=7))
        notices.listed(reading.sa, NoticeFilter(None, None, None, LIMIT))
        notices.listed(reading.sa, NoticeFilter(None, 7, None, LIMIT))
        backfills.search(reading.sa, most=LIMIT)
        health.lanes(reading.conn, [5])
        health.expired(reading.conn)
        scanned, fetched = reading.rows()
        # Of a webhook or company all notices and entries may be read, to sort them.
        assert scanned <= 1000
        assert fetched <= 3000


def test_a_status_looks_at_those_webhooks_that_owe_something(full: str) -> None:
    """10,000 webhooks of which few did took 160 ms."""
    with psycopg.connect(full, autocommit=True) as conn:
        conn.execute("delete from cdc.queue where webhook_id > 3")
        conn.execute(
            "update cdc.lane set breaker = 'open', last_error = 'status' where webhook_id > 190"
        )
        numbers = [number for (number,) in conn.execute("select id from cdc.webhook")]
        busy = [number for number in numbers if number <= 20]
        rest = [number for number in numbers if number > 20]
        seen = health.lanes(conn)
        each = (*health.lanes(conn, busy), *health.lanes(conn, rest))
    ages = {
        "oldest",
        "oldest_queued",
        "oldest_dead",
        "failing_for",
        "next_try",
        "held_for",
        "bound",
    }

    def ageless(lanes: tuple[health.LaneState, ...]) -> list[dict[str, Any]]:
        found = [one._asdict() for one in lanes]
        return [{n: value for n, value in one.items() if n not in ages} for one in found]

    assert ageless(seen) == ageless(each)
    assert [one.webhook_id for one in seen] == sorted(numbers)
    assert {one.error for one in seen if one.webhook_id > 190} == {"status"}
    assert sum(not one.waiting and not one.dead for one in seen) > 100
    with Reading(full) as reading:
        health.lanes(reading.conn)
        scanned, fetched = reading.rows()
        assert scanned == 0
        assert fetched <= 70_000


def test_what_was_tried_is_found_by_its_webhook_id(full: str) -> None:
    """With 10,000,000 rows of log it took 2 s: filters of the log are priced too high. Later 70 ms:
    one range of twenty was read in vain, and all of queue, retries and dead, twice."""
    with psycopg.connect(full, autocommit=True) as conn:
        conn.execute(
            "select brin_summarize_new_values(indexrelid) from pg_stat_user_indexes"
            " where indexrelname ~ '^attempt_.*_uid_idx'"
        )
        # Before the counters are reset: it may read all, and is counted when its session ends.
        ((uid,),) = conn.execute("select uid::text from cdc.attempt where delivery = 77 limit 1")
        conn.execute("select pg_stat_force_next_flush()")
        conn.execute("select pg_stat_reset()")
    with connections.connect(full) as one:
        (found,) = deliveries.trace(one, None, uid)
        assert len(found["attempts"]) == 1
        place = DeliveryKey(found["webhook"], found["id"], uid)
        assert deliveries.trace(one, place.number, uid, place.webhook) == [found]
        assert deliveries.trace(one, place.number, uid, place.webhook + 1) == []
        assert deliveries.located(one, uid) == [place]
        known = explain.Subject(uid=uid, known=(place,))
        both = [known, replace(known, known=())]
        mapping = default_mapping()
        shared = explain.common(one, mapping, held_days=14)
        explained = [explain.explain(one, mapping, asked, shared).deliveries[0] for asked in both]
        assert explained[0][1] == explained[1][1]
        one.execute("select pg_stat_force_next_flush()")
        one.execute("select")
        read = one.execute(
            "select sum(seq_tup_read), sum(idx_tup_fetch) < 3 * 5000 from pg_stat_user_tables"
            f" where relname ~ '{LARGE}'".encode()
        ).fetchone()
    assert read == (0, True)
