"""Tables that were analyzed while empty, and are full since: the planner learns that in time."""

from __future__ import annotations

import time
from random import Random
from typing import cast

import pytest

from cdc.daemon.lease import Lease
from cdc.daemon.store import statistics
from cdc.daemon.store.fetch import Fetcher
from cdc.daemon.store.look import Looker
from cdc.daemon.store.session import Connection, Layouts, Row, open_session, run
from cdc.daemon.store.statistics import Statistics
from cdc.lanes import Decision, Delivered, FetchPlan, Lane, LaneRules
from cdc.model import SHARDS, Span
from cdc.webhooks.replay import Replay, ReplayFilter
from tests.daemon.running import Running
from tests.daemon.test_settle import OK, desk
from tests.daemon.world import World

QUEUED = """
insert into cdc.queue (webhook_id, layout, action, "time", refs)
select %s, (select id from cdc.layout where event = 'candidate_changed'), 'm', now(),
       array[null, '1', '1', g::text]
  from generate_series(1, %s) g
"""
RETRIED = """
insert into cdc.retry (webhook_id, id, uid, xid, layout, action, "time", refs, event, key, due_at)
select %s, g, gen_random_uuid(), '1',
       (select id from cdc.layout where event = 'candidate_changed'), 'm', now(),
       array[null, '1', '1', g::text], 'candidate_changed', g::text, clock_timestamp()
  from generate_series(1, %s) g
"""
DEAD = """
insert into cdc.dead (webhook_id, id, uid, xid, layout, action, "time", refs, event, key, attempts,
                      tries)
select %s, g, gen_random_uuid(), '1',
       (select id from cdc.layout where event = 'candidate_changed'), 'm', now(),
       array[null, '1', '1', g::text], 'candidate_changed', g::text, 1, 1
  from generate_series(1, %s) g
"""
FILL = {"queue": QUEUED, "retry": RETRIED, "dead": DEAD}


async def taken_for_empty(world: World, table: str, rows: int) -> int:
    """Fills it, in such a way that the planner does not know; returns the webhook."""
    hook = await world.hook("candidate")
    await world.run(f"alter table cdc.{table} set (autovacuum_enabled = off)")
    await world.run(FILL[table], hook.id, rows)
    await world.run(f"delete from cdc.{table}")
    await world.run(f"analyze cdc.{table}")
    await world.run(FILL[table], hook.id, rows)
    assert await noted(world, table) == 0
    return hook.id


async def cannot_be_analyzed(world: World) -> int:
    """Taken for empty, too: a queue with a partial index whose predicate has a mistake, which
    ANALYZE meets, and what reads or deletes rows does not. It stands for a full disk. Returns the
    webhook."""
    await world.run("create table public.broken (yes bool)")
    await world.run(
        "create function public.fails(bigint) returns bool immutable language plpgsql"
        " security definer as 'begin perform from public.broken; if found then"
        "                      raise exception ''this index is broken''; end if; return true; end'"
    )
    await world.run("create index on cdc.queue (id) where public.fails(id)")
    hook = await taken_for_empty(world, "queue", 2000)
    await world.run("insert into public.broken values (true)")
    return hook


async def noted(world: World, table: str) -> int:
    """How many rows it has for the planner."""
    name = f"cdc.{table}"
    return int(await world.one("select reltuples from pg_class where oid = %s::regclass", name))


async def fetched(world: World, hook: int) -> int:
    """How many of 2,000 rows a fetch brings, in a session of its own."""
    conn = await open_session(world.url, "test")
    snapshot = await Looker(conn, Lease()).begin()
    plan = {hook: FetchPlan(*Span(0), 2000, 2000)}
    rows = (await Fetcher(conn, Layouts()).fetch(plan, snapshot))[hook].rows
    await conn.close()
    return len(rows)


async def test_a_burst_into_a_table_that_was_analyzed_while_empty_is_known(world: World) -> None:
    """To the planner it was empty: settling 1,000 of 50,000 rows compared each with each, 4 s."""
    hook = await taken_for_empty(world, "queue", 2000)
    writer = await world.writer()
    async with writer.transaction():
        await writer.conn.execute("lock cdc.queue in share update exclusive mode")
        assert await fetched(world, hook) == 2000
        assert await noted(world, "queue") == 0, "it is being vacuumed"
    assert await fetched(world, hook) == 2000
    assert await noted(world, "queue") == 2000


async def test_a_table_that_is_locked_altogether_stops_no_fetch_from_another(world: World) -> None:
    """As by ALTER TABLE or VACUUM FULL: it ended the daemon's session, again and again."""
    await taken_for_empty(world, "retry", 10)
    hook = await taken_for_empty(world, "queue", 2000)
    writer = await world.writer()
    async with writer.transaction():
        await writer.conn.execute("lock cdc.retry in access exclusive mode")
        assert await fetched(world, hook) == 2000
        assert await noted(world, "queue") == 2000


async def test_a_table_that_cannot_be_analyzed_stops_nothing(world: World) -> None:
    hook = await cannot_be_analyzed(world)
    assert await fetched(world, hook) == 2000
    async with Running(world.url):
        await world.receiver.wait_for(2000, limit=60)
        await world.settled()


async def test_what_cannot_be_analyzed_is_said(world: World) -> None:
    await cannot_be_analyzed(world)
    conn = await open_session(world.url, "test")
    try:
        assert await run(conn, "refresh_statistics", []) == [(False,)]
    finally:
        await conn.close()


async def test_thousands_that_are_replayed_into_an_empty_table_are_sent(world: World) -> None:
    """To ask which are due took longer than 4 s each time: the daemon began again, forever."""
    await taken_for_empty(world, "retry", 10_000)
    async with Running(world.url):
        await world.receiver.wait_for(10_000, limit=120)
        await world.settled()
    assert await noted(world, "retry") > 1000


async def test_what_small_looks_have_brought_is_known_before_it_is_recorded(world: World) -> None:
    """Such rows are never fetched."""
    await taken_for_empty(world, "queue", 1000)
    hook = await world.hook("candidate")
    conn = await open_session(world.url, "test")
    looker = Looker(conn, Lease())
    await looker.begin()
    await world.run(QUEUED, hook.id, statistics.FEW_ROWS)
    seen = await looker.look(arm=None, shards=range(SHARDS))
    assert seen.rows is not None
    rows = await Layouts().deliveries(conn, seen.rows)
    await conn.close()
    async with desk(world) as made:
        for row in rows:
            made.submit(Lane(hook.id, LaneRules(), Random(1)), row, OK, Decision(Delivered()))
        await made.flushed()
    assert await noted(world, "queue") == 1000 + statistics.FEW_ROWS


@pytest.mark.parametrize("given_up", [False, True], ids=["replayed", "given up"])
async def test_thousands_of_dead_ones_are_known_before(world: World, *, given_up: bool) -> None:
    """Giving up 1,000 of 100,000 that counted as none took more than a minute."""
    await taken_for_empty(world, "dead", 2000)
    with Replay(world.url) as replay:
        found = replay.find(ReplayFilter())
        done = replay.drop(found, "old") if given_up else replay.run(found)
        assert list(done) == [(1000, 1000), (1000, 1000)]
    assert await noted(world, "dead") == 2000


async def test_what_was_held_for_a_removed_webhook_is_known_before_it_is_dropped(
    world: World,
) -> None:
    """Of 100,000 that counted as none, 1,000 took longer than a statement may."""
    hook = await taken_for_empty(world, "queue", 2000)
    await world.run("update cdc.webhook set state = 'removed' where id = %s", hook)
    async with Running(world.url):
        await world.settled()
    assert await noted(world, "queue") == 2000


CONN = cast(Connection, None)


class Looks:
    """Stands in for the database: each look takes as long as it says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.takes = 0.0
        self.well = True
        self.number = 0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(statistics, "run_within", self._run)

    async def _run(self, *_: object) -> list[Row] | None:
        self.number += 1
        self.now += self.takes
        return None if self.takes >= statistics.STATISTICS_WITHIN_S else [(self.well,)]


async def test_looks_take_little_of_the_time_however_long_they_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that is given up after two seconds is made again after a minute, as is one that fails."""
    looks, known = Looks(monkeypatch), Statistics()

    async def made(after: float) -> bool:
        looks.now += after
        before = looks.number
        await known.refresh(CONN, statistics.FEW_ROWS)
        return looks.number > before

    await known.refresh(CONN, statistics.FEW_ROWS - 1)
    assert not looks.number
    assert await made(0.0)
    assert [await made(0.3), await made(0.3)] == [False, True]
    looks.takes = 0.25
    assert await made(0.6)
    assert [await made(7.4), await made(0.2)] == [False, True]
    looks.takes = 2.0
    assert await made(7.6)
    assert [await made(59.9), await made(0.2)] == [False, True]
    looks.takes, looks.well = 0.0, False
    assert await made(60.0)
    assert [await made(59.9), await made(0.2)] == [False, True]
