"""The queue has not been read for hours: a change costs its writer what it does with an empty one.

By counting pages and rows, not by the clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import NamedTuple

import psycopg
import pytest
from psycopg.errors import QueryCanceled

from cdc.sandbox.embedded import EmbeddedPostgres
from tests.capture.kit import ROWS, Suite, connect
from tests.conftest import fresh_database
from tests.writers.kit import until

SMALL, LARGE = 200_000, 1_000_000

FILL = """
insert into cdc.queue (xid, webhook_id, layout, action, "time", refs)
select '3', 1 + g %% 50, (select min(id) from cdc.layout), 'm', now(), array[null, '1', g::text]
  from generate_series(1, %s) g
"""

# Pages fetched by this transaction, of a table and of each of its indexes; not counted for others.
FETCHED = """
select coalesce(sum(pg_stat_get_xact_blocks_fetched(o)), 0)
  from (select 'cdc.queue'::regclass::oid as o
         union all select indexrelid from pg_index where indrelid = 'cdc.queue'::regclass) x
"""

INDEXES = 2
LEVELS = 3  # of an index over these rows: root, inner page, leaf


class Cost(NamedTuple):
    """Of one change, at the queue. read: rows that were looked at. pages: fetched."""

    read: int
    pages: int


def cost(suite: Suite) -> Cost:
    """Of the dearest of some single-row changes: now and then a page is split."""
    found = []
    for _ in range(5):
        suite.run("begin")
        read, pages = suite.rows_read("queue"), suite.one(FETCHED)
        suite.run("update rating set stars = 1 where id = 9")
        found.append(Cost(suite.rows_read("queue") - read, suite.one(FETCHED) - pages))
        suite.run("commit")
    return max(found)


def fill(suite: Suite, rows: int) -> None:
    """Their indexes are made afterwards, which takes a third of the time."""
    indexes = suite.all(
        "select indexrelid::regclass::text, pg_get_indexdef(indexrelid)"
        "  from pg_index where indrelid = 'cdc.queue'::regclass"
    )
    assert len(indexes) == INDEXES
    drop = [f"drop index {name}" for name, _ in indexes]
    suite.run(";".join([*drop, FILL % rows, *(made for _, made in indexes)]))


@pytest.fixture(scope="module", params=[SMALL, pytest.param(LARGE, marks=pytest.mark.long)])
def owed(
    request: pytest.FixtureRequest,
    postgres: EmbeddedPostgres,
    admin: psycopg.Connection,
    template_db: str,
) -> Iterator[tuple[Suite, Cost, int]]:
    """A suite whose queue holds all these deliveries; what a change had cost before they came."""
    for url in fresh_database(postgres, admin, template_db):
        suite = Suite(url)
        suite.run(ROWS)
        # Not in the middle of a test, automatically.
        suite.run("alter table cdc.queue set (autovacuum_enabled = off)")
        suite.register("1")
        before = cost(suite)
        assert before.pages > 0, "the counters show nothing"
        fill(suite, request.param)
        yield suite, before, request.param
        suite.close()


def test_a_change_costs_the_same_whatever_waits(owed: tuple[Suite, Cost, int]) -> None:
    suite, before, rows = owed
    assert suite.one("select count(*) from cdc.queue") > rows
    fresh = Suite(suite.url)  # a session that never saw the queue empty
    for each in (suite, fresh):
        full = cost(each)
        assert full.read == 0
        # One way down each index, and a split now and then; not one page for what waits.
        assert full.pages <= before.pages + INDEXES * LEVELS
    fresh.close()


def test_a_snapshot_held_open_makes_it_no_dearer(owed: tuple[Suite, Cost, int]) -> None:
    """All was delivered while a dump runs: its dead rows stay, and no session walks over them."""
    suite, before, rows = owed
    with connect(suite.url) as dump:
        dump.execute("begin isolation level repeatable read")
        dump.execute("select from cdc.queue limit 1")
        with connect(suite.url) as daemon:
            daemon.execute("delete from cdc.queue")
            daemon.execute("vacuum cdc.queue")
        dead = "select n_dead_tup from pg_stat_user_tables where relname = 'queue'"
        suite.run("select pg_stat_clear_snapshot()")
        assert suite.one(dead) >= rows, "the snapshot keeps nothing"
        held = cost(suite)
        assert held.read == 0
        assert held.pages <= before.pages + INDEXES * LEVELS


def test_vacuuming_an_emptied_queue_makes_no_session_wait(owed: tuple[Suite, Cost, int]) -> None:
    """Truncating a table's end takes a lock that inserts wait for, so it is switched off."""
    suite, *_ = owed
    suite.run("delete from cdc.queue")
    pages = suite.one("select pg_relation_size('cdc.queue')")
    vacuuming = connect(suite.url)
    vacuuming.execute("set vacuum_cost_delay = '20ms'")
    vacuuming.execute("set vacuum_cost_limit = 50")
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(vacuuming.execute, b"vacuum (analyze) cdc.queue")
        try:
            progress = "select count(*) from pg_stat_progress_vacuum"
            until(lambda: suite.one(progress) == 1, "it vacuums")
            suite.run("set lock_timeout = '1s'")
            for _ in range(10):
                suite.run("update rating set stars = 2")
            assert suite.one(progress) == 1, "it was over before anything was written"
        finally:
            vacuuming.cancel_safe()
            with suppress(QueryCanceled):
                running.result()
    vacuuming.close()
    suite.run("vacuum cdc.queue")
    assert suite.one("select pg_relation_size('cdc.queue')") >= pages
    suite.run("reset lock_timeout")
