"""Settle: in batches, only by the owner, and a repetition changes nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest
from psycopg.errors import LockNotAvailable

from cdc.daemon.lease import Lease
from cdc.daemon.store import settle
from cdc.daemon.store.batch import Found
from cdc.daemon.store.fetch import Fetcher
from cdc.daemon.store.look import Looker
from cdc.daemon.store.records import Parked, Promote, Record, Settled, Suspend
from cdc.daemon.store.session import Layouts, open_session, run
from cdc.daemon.store.settle import SETTLE_BATCH_RECORDS, Settler
from cdc.lanes import PLAIN_SUCCESS, Dead, Decision, Delivered, FetchPlan, Lane, LaneRules, Retry
from cdc.model import SHARDS, Answer, Delivery, Outcome, Span
from cdc.telemetry import Observer
from tests.daemon.running import LIMIT, Log, eventually
from tests.daemon.world import Hook, World

OK = Outcome(Answer.SUCCESS, 204, None, "", 0.0125, "thanks")
BAD = Outcome(Answer.FAILURE, 500, "status", "HTTP 500", 0.25, "oh\0no")


class Desk:
    """A settler that owns every shard, and what it is given."""

    def __init__(self, world: World) -> None:
        self.log = Log()
        self.confirmed: list[set[Lane]] = []
        self.at: list[float] = []  # when
        self.lease = Lease()
        self.own(0)
        self.settler = Settler(world.url, Observer(log=self.log), self.lease)
        self.settler.listener = self

    def own(self, epoch: int) -> None:
        """All shards, in this epoch."""
        self.lease.took(dict.fromkeys(range(SHARDS), epoch))

    def recorded(self, records: Sequence[Record], found: Found) -> None:
        self.confirmed.append({record.lane for record in records})
        self.at.append(time.monotonic())

    def submit(self, lane: Lane, delivery: Delivery, outcome: Outcome, made: Decision) -> Settled:
        delivery.tries += 1
        record = Settled(lane, delivery, outcome, made, time.monotonic())
        self.settler.submit(record)
        return record

    async def flushed(self) -> None:
        async with asyncio.timeout(LIMIT):
            await self.settler.flushed()


@asynccontextmanager
async def desk(world: World) -> AsyncIterator[Desk]:
    made = Desk(world)
    task = asyncio.create_task(made.settler.run())
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await made.settler.close()


@pytest.fixture
async def hook(world: World) -> Hook:
    return await world.hook("candidate")


async def fetched(world: World, hook: Hook, rows: int) -> list[Delivery]:
    """Writes so many rows and reads them from the queue."""
    await world.run("insert into candidate (project_id) select 1 from generate_series(1, %s)", rows)
    conn = await open_session(world.url, "test")
    snapshot = await Looker(conn, Lease()).begin()
    plan = FetchPlan(*Span(0), rows, rows)
    found = await Fetcher(conn, Layouts()).fetch({hook.id: plan}, snapshot)
    await conn.close()
    return found[hook.id].rows


def lane_of(hook: Hook) -> Lane:
    return Lane(hook.id, LaneRules(), Random(1))


async def log_of(world: World) -> list[tuple[Any, ...]]:
    return await world.all(
        "select delivery, uid::text, webhook_id, layout, action::text, refs, try, outcome, status,"
        ' error, detail, excerpt, duration_ms::float8, "time",'
        " slot = floor(extract(epoch from at) / 86400)::int % 32"
        "  from cdc.attempt order by delivery, try"
    )


async def test_an_attempt_is_logged_with_all_that_is_known(world: World, hook: Hook) -> None:
    good, bad, dead = await fetched(world, hook, 3)
    bad.body, dead.body = b"{bad}", b"{dead}"
    async with desk(world) as made:
        lane = lane_of(hook)
        made.submit(lane, good, OK, Decision(Delivered()))
        made.submit(lane, bad, BAD, Decision(Retry(60.0, 1)))
        dead.tries = 9
        made.submit(lane, dead, BAD, Decision(Dead(10)))
        await made.flushed()
        assert made.confirmed == [{lane}]

    def line(row: Delivery, attempt: int, fate: str, outcome: Outcome) -> tuple[Any, ...]:
        return (
            row.id,
            row.uid,
            hook.id,
            row.layout.id,
            "c",
            list(row.refs),
            attempt,
            fate,
            outcome.status,
            outcome.error,
            outcome.detail,
            outcome.excerpt.replace("\0", ""),
            outcome.duration * 1000,
            row.time,
            True,
        )

    assert await log_of(world) == [
        line(good, 1, "delivered", OK),
        line(bad, 1, "failed", BAD),
        line(dead, 10, "dead", BAD),
    ]
    assert await world.all("select count(*) from cdc.queue") == [(0,)]
    retry = await world.all(
        "select id, uid::text, event, key, body, attempts, tries, last_status, last_error,"
        " extract(epoch from due_at - clock_timestamp()) between 55 and 60 from cdc.retry"
    )
    key = str(bad.refs[-1])
    assert retry == [
        (bad.id, bad.uid, "candidate_changed", key, b"{bad}", 1, 1, 500, "status", True)
    ]
    assert await world.all(
        "select id, uid::text, event, key, body, attempts, tries, last_status, last_error"
        " from cdc.dead"
    ) == [
        (
            dead.id,
            dead.uid,
            "candidate_changed",
            str(dead.refs[-1]),
            b"{dead}",
            10,
            10,
            500,
            "status",
        )
    ]


async def test_a_repeated_settlement_changes_nothing(world: World, hook: Hook) -> None:
    good, bad, behind, dead = await fetched(world, hook, 4)
    bad.body = dead.body = b"{}"
    lane = lane_of(hook)
    # As after a COMMIT whose answer was lost: the same records again.
    for repeated in range(2):
        for row in (good, bad, dead):
            row.tries = 0
        async with desk(world) as made:
            made.submit(lane, good, OK, Decision(Delivered()))
            made.submit(lane, bad, BAD, Decision(Retry(60.0 + repeated, 1)))
            made.submit(lane, dead, BAD, Decision(Dead(1)))
            made.settler.submit(Parked(lane, behind))
            await made.flushed()
        state = [
            await log_of(world),
            await world.all("select id, due_at, attempts, tries from cdc.retry order by id"),
            await world.all("select id, died_at from cdc.dead"),
            await world.all("select count(*) from cdc.queue"),
        ]
        if not repeated:
            before = state
    assert state == before
    assert len(state[0]) == 3
    assert len(state[1]) == 2


async def test_who_lost_the_shard_settles_nothing(world: World, hook: Hook) -> None:
    good, bad, behind = await fetched(world, hook, 3)
    bad.body = b"{}"
    lane = lane_of(hook)
    await world.run("update cdc.shard set epoch = 5 where id = %s", hook.id % 64)
    async with desk(world) as made:
        made.own(4)
        made.submit(lane, good, OK, Decision(Delivered()))
        made.submit(lane, bad, BAD, Decision(Retry(60.0, 1)))
        made.settler.submit(Parked(lane, behind))
        made.settler.submit(Suspend(lane, "gone", 1))
        await made.flushed()
        refused = await made.log.seen("settlement refused, the shard has another owner")
        assert refused.values["records"] == 4
        assert made.confirmed == [set()]
    assert await world.one("select count(*) from cdc.queue") == 3
    assert await world.one("select count(*) from cdc.retry") == 0
    assert await log_of(world) == []
    assert await world.one("select state from cdc.webhook") == "active"


async def test_a_take_over_waits_for_a_running_settlement(world: World, hook: Hook) -> None:
    shard = hook.id % 64
    take_over = "update cdc.shard set epoch = epoch + 1 where id = %s"
    await world.run("set lock_timeout = '20ms'")
    conn = await open_session(world.url, "test")
    async with conn.transaction():
        assert await run(conn, "fence", [[shard], [0]]) == [(shard, True)]
        with pytest.raises(LockNotAvailable):
            await world.run(take_over, shard)
    await world.run(take_over, shard)
    assert await run(conn, "fence", [[shard], [0]]) == []
    await conn.close()


async def test_thousands_are_settled_in_batches(world: World, hook: Hook) -> None:
    rows = await fetched(world, hook, SETTLE_BATCH_RECORDS * 2 + 1)
    lane = lane_of(hook)
    async with desk(world) as made:
        for row in rows:
            made.submit(lane, row, OK, Decision(Delivered()))
        await made.flushed()
        assert len(made.confirmed) == 3
    assert await world.one("select count(*) from cdc.queue") == 0
    assert await world.one("select count(*) from cdc.attempt") == len(rows)


async def test_successes_wait_longer_for_others_where_many_come(
    world: World, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settle, "LINGER_S", 0.01)
    monkeypatch.setattr(settle, "STEADY_LINGER_S", 0.4)
    rows = await fetched(world, hook, 4)
    lane = lane_of(hook)
    async with desk(world) as made:

        async def recorded(these: list[Delivery]) -> None:
            before = len(made.confirmed)
            for row in these:
                made.submit(lane, row, OK, PLAIN_SUCCESS)
            await eventually(lambda: len(made.confirmed) > before, "they are recorded")

        await recorded(rows[2:])
        await recorded(rows[:1])
        assert made.at[1] - made.at[0] >= 0.4
        monkeypatch.setattr(settle, "STEADY_LINGER_S", 3600.0)
        await recorded(rows[1:2])  # one came before it, so it waits for a moment only
    assert await world.one("select count(*) from cdc.queue") == 0


async def test_flushed_waits_only_for_what_was_submitted_before(world: World, hook: Hook) -> None:
    first, *others = await fetched(world, hook, 200)
    lane = lane_of(hook)
    async with desk(world) as made:

        async def go_on() -> None:
            """Under load there is always something more to settle."""
            for row in others:
                made.submit(lane, row, OK, Decision(Delivered()))
                await asyncio.sleep(0)
            while True:
                made.settler.submit(Promote(lane, others[0].resource))
                await asyncio.sleep(0)

        made.submit(lane, first, OK, Decision(Delivered()))
        load = asyncio.create_task(go_on())
        await made.flushed()
        load.cancel()
        assert await world.one("select count(*) from cdc.attempt where delivery = %s", first.id)


async def test_what_could_not_be_settled_is_settled_when_the_database_is_back(
    world: World, hook: Hook
) -> None:
    [row] = await fetched(world, hook, 1)
    lane = lane_of(hook)
    async with desk(world) as made:
        made.settler.submit(Promote(lane, row.resource))
        await made.flushed()
        await world.run(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where application_name = 'cdc settle' and datname = current_database()"
        )
        made.submit(lane, row, OK, Decision(Delivered()))
        await made.flushed()
        assert made.log.all("settling failed")
        assert made.log.all("settling works again")
    assert await world.one("select count(*) from cdc.queue") == 0
    assert len(await log_of(world)) == 1
