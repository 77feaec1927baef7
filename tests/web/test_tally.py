"""The counts of the last day: each attempt once, whatever comes meanwhile; and what they cost."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from cdc.web import tally
from cdc.web.console import charts
from cdc.web.pool import RequestPool
from cdc.web.tally import Tally
from tests.web.kit import account

NOW = datetime(2026, 3, 4, 10, 20, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def pool(shared_database: str, admin: psycopg.Connection) -> Iterator[RequestPool]:
    with account(admin, shared_database) as url:
        made = RequestPool(url)
        yield made
        made.close()


@pytest.fixture
def conn(shared_database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(shared_database, autocommit=True) as conn:
        conn.execute("truncate cdc.attempt")
        yield conn


def attempt(
    conn: psycopg.Connection,
    at: datetime,
    webhook: int,
    outcome: str,
    wait: float = 1,
    number: int = 1,
) -> None:
    slot = int(at.timestamp() // 86_400) % 32
    conn.execute(
        "insert into cdc.attempt (slot, at, delivery, uid, webhook_id, layout, action, time, refs,"
        " try, outcome) values (%s, %s, 1, gen_random_uuid(), %s, 1, 'm', %s, '{}', %s, %s)",
        [slot, at, webhook, at - timedelta(seconds=wait), number, outcome],
    )


def hours(found: Tally, webhook: int = 0) -> dict[int, tuple[int, int]]:
    return {
        one.begin.hour: (one.delivered, one.failed)
        for one in found.hours(webhook)
        if one.delivered or one.failed
    }


def test_each_attempt_of_the_last_day_is_counted_once(
    pool: RequestPool, conn: psycopg.Connection
) -> None:
    now = NOW
    counts = Tally(pool, lambda: now)
    assert (counts.since, counts.hours(), charts.of_day(counts)) == (None, [], None)
    for minutes, webhook, outcome in (
        (0.5, 1, "delivered"), (1, 1, "failed"), (20, 1, "dead"), (20.51, 2, "delivered"),
        (600, 1, "delivered"), (620, 2, "expired"), (1400, 1, "failed"), (1401, 1, "delivered"),
        (3000, 1, "delivered"),
    ):  # fmt: skip
        attempt(conn, NOW - timedelta(minutes=minutes), webhook, outcome)
    counts.run_once()
    assert hours(counts, 1) == {10: (1, 2), 0: (1, 0), 11: (0, 1)}  # 10:59 was a day ago
    assert hours(counts, 2) == {9: (1, 0)}
    assert hours(counts) == {10: (1, 2), 9: (1, 0), 0: (1, 0), 11: (0, 1)}
    assert counts.whole
    attempt(conn, NOW + timedelta(seconds=1), 1, "delivered")
    counts.run_once()
    assert hours(counts, 1)[10] == (1, 2)  # attempts of this moment may not all be recorded
    now = NOW + timedelta(minutes=45)
    counts.run_once()
    assert hours(counts, 1) == {10: (2, 2), 0: (1, 0)}  # the oldest hour has gone
    now = NOW + timedelta(days=3)
    counts.run_once()
    assert hours(counts) == {}
    assert [one.begin for one in counts.hours()][-1] == datetime(2026, 3, 7, 10, tzinfo=UTC)


def test_how_long_deliveries_take_is_known_within_a_fifth(
    pool: RequestPool, conn: psycopg.Connection
) -> None:
    counts = Tally(pool, lambda: NOW)
    for number in range(100):
        attempt(conn, NOW - timedelta(minutes=2), 1, "delivered", 7.0 if number >= 94 else 0.002)
    attempt(conn, NOW - timedelta(minutes=2), 1, "delivered", 5000.0, number=2)  # after a failure
    counts.run_once()
    slow = counts.hours()[-1].slow
    assert slow is not None
    assert 7.0 <= slow <= 8.4
    assert counts.hours(1)[-1].slow is None
    drawn = charts.of_day(counts)
    assert drawn is not None
    assert (drawn.delivered, drawn.failed, drawn.waits, drawn.since) == (101, 0, True, None)
    assert [bar.delivered for bar in drawn.bars][-2:] == [0.0, 100.0]
    assert all(0 <= bar.slow <= 100 for bar in drawn.bars)


def test_a_step_reads_its_minutes_alone(pool: RequestPool, conn: psycopg.Connection) -> None:
    """By the index on the attempt's time, in a full log, in the partition of its day."""
    conn.execute(
        "insert into cdc.attempt (slot, at, delivery, uid, webhook_id, layout, action, time, refs,"
        " try, outcome) select %s, %s::timestamptz + n * interval '0.4 s', n, gen_random_uuid(),"
        " n %% 9, 1, 'm', now(), '{}', 1, 'delivered' from generate_series(1, 90000) n",
        [int(NOW.timestamp() // 86_400) % 32, NOW - timedelta(hours=10)],
    )
    conn.execute("select brin_summarize_new_values(i.indexrelid) from pg_index i join pg_class c"
                 " on c.oid = i.indexrelid join pg_am a on a.oid = c.relam and amname = 'brin'"
                 " where i.indrelid = (select tableoid from cdc.attempt limit 1)")  # fmt: skip
    begin = NOW - timedelta(hours=5)
    with pool.autocommit() as serve, serve.transaction():
        serve.execute("set local enable_seqscan = off")
        row = serve.execute(
            ("explain (analyze, timing off, format json)" + tally._COUNTED).encode(),
            [int(NOW.timestamp() // 86_400) % 32, begin, begin + tally.BUCKET],
        ).fetchone()
    assert row is not None
    nodes = [row[0][0]["Plan"]]

    for node in nodes:
        nodes.extend(node.get("Plans", ()))
    (scan,) = (one for one in nodes if str(one.get("Relation Name", "")).startswith("attempt"))
    assert scan["Node Type"] == "Bitmap Heap Scan"
    assert scan["Actual Rows"] == 2250
    assert scan["Rows Removed by Index Recheck"] < 6000
