"""No row and no lock stops more than its own: what cannot be recorded waits alone, or is dead."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from cdc.daemon.maintenance import schedule
from cdc.daemon.store.settle import SET_ASIDE_LIMIT
from cdc.sandbox.receiver import Reply, Script
from tests.daemon.running import Process, Running
from tests.daemon.world import Hook, World

# Sessions that a daemon has at one moment: it looks, fetches, settles, cares.
SESSIONS = 4
OURS = (
    "select count(*) from pg_stat_activity"
    " where datname = current_database() and application_name like 'cdc %%'"
)
TWICE = """
insert into cdc.queue (id, webhook_id, uid, layout, action, time, refs)
select 7, %s, gen, l.id, 'm', now(), array[null, '1', '1', %s]
  from cdc.layout l, (select gen_random_uuid() as gen) g, generate_series(1, 2)
 where l.event = 'candidate_changed'
"""

MANY = """
insert into cdc.queue (webhook_id, layout, action, time, refs)
select %s, l.id, 'm', now(), array[null, '1', '1', n::text]
  from cdc.layout l, generate_series(1, %s) n
 where l.event = 'candidate_changed'
"""
ONE = TWICE.replace("1, 2", "1, 1")


@asynccontextmanager
async def holding(world: World, sql: str, *values: Any) -> AsyncIterator[None]:
    """Another session's transaction, left open after this statement."""
    conn = await world.connect()
    await conn.set_autocommit(False)
    await conn.execute(sql.encode(), values or None)
    yield
    await conn.rollback()
    await conn.close()


async def rest_goes_on(world: World, hook: Hook, rows: int = 20) -> None:
    """What is sent to this webhook is recorded, too."""
    writer = await world.writer()
    for _ in range(rows):
        await writer.insert("candidate", project_id=1)
    await world.arrived(hook)
    await world.until("select not exists (select from cdc.queue where webhook_id = %s)", hook.id)


@pytest.fixture
async def hook(world: World) -> Hook:
    return await world.hook("candidate")


# -- rows -------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", [[0.05], []], ids=["retried", "dead at once"])
async def test_two_equal_rows_stop_no_other(world: World, down: str, schedule: list[float]) -> None:
    bad, good = await world.hook("project"), await world.hook("candidate")
    await world.run("update cdc.webhook set endpoint = %s where id = %s", down, bad.id)
    await world.run(TWICE, bad.id, "5")
    async with Running(world.url, retry_schedule=schedule) as daemon:
        await rest_goes_on(world, good)
        await world.until("select count(*) = 1 from cdc.dead where webhook_id = %s", bad.id)
        assert daemon.log.all("settling failed") == []
    assert await world.one("select count(*) from cdc.queue") == 0


async def test_two_equal_rows_that_are_parked_stop_no_other(world: World, down: str) -> None:
    bad, good = await world.hook("project"), await world.hook("candidate")
    await world.run("update cdc.webhook set endpoint = %s where id = %s", down, bad.id)
    await world.run(ONE.replace("7, %s", "6, %s"), bad.id, "5")
    await world.run(TWICE, bad.id, "5")
    async with Running(world.url, retry_schedule=[1000]) as daemon:
        await rest_goes_on(world, good)
        await world.until("select count(*) = 2 from cdc.retry where webhook_id = %s", bad.id)
        assert daemon.log.all("settling failed") == []


async def test_what_can_never_be_recorded_ends_as_dead(world: World, hook: Hook) -> None:
    """A number of tries beyond all numbers: the log cannot hold the next one."""
    odd = await world.hook("project")
    await world.run(ONE, odd.id, "5")
    await world.run(
        "with q as (delete from cdc.queue returning *)"
        " insert into cdc.retry (webhook_id, id, uid, xid, layout, action, time, refs, event, key,"
        " tries, due_at) select webhook_id, id, uid, xid, layout, action, time, refs,"
        " 'candidate_changed', '5', 2147483647, now() from q"
    )
    async with Running(world.url) as daemon:
        await rest_goes_on(world, hook)
        line = await daemon.until("cannot be recorded, dead", webhook=odd.id)
        assert line.level == "error"
        assert line.values["delivery"] == 7
        await rest_goes_on(world, hook)
    [row] = await world.all("select id, last_error, last_status from cdc.dead")
    assert row == (7, "record", 200)
    [(detail,)] = await world.all("select detail from cdc.attempt where outcome = 'dead'")
    assert "out of range" in detail
    assert await world.one("select count(*) from cdc.retry") == 0


async def test_what_cannot_even_die_is_set_aside(world: World, hook: Hook) -> None:
    """A constraint of the DBA's refuses it everywhere: it is tried again, and the rest goes on."""
    odd = await world.hook("project")
    await world.run(f"alter table cdc.attempt add constraint no_odd check (webhook_id <> {odd.id})")
    await world.run(ONE, odd.id, "5")
    async with Running(world.url) as daemon:
        await daemon.until("cannot be recorded, set aside", webhook=odd.id)
        await rest_goes_on(world, hook)
        assert daemon.app._state().set_aside == 1
        await world.run("alter table cdc.attempt drop constraint no_odd")
        await world.settled()
        assert daemon.log.all("settling failed") == []
    assert len(world.came[odd.path]) == 1


# -- locks ------------------------------------------------------------------------------------

LOCKS = {
    "a row of the queue": "select from cdc.queue where webhook_id = %s limit 1 for update",
    "all rows of a webhook": "select from cdc.queue where webhook_id = %s for update",
}


@pytest.mark.parametrize("which", LOCKS)
async def test_a_locked_row_waits_alone(world: World, hook: Hook, which: str) -> None:
    other = await world.hook("project")
    await world.run(MANY, other.id, 1000)
    async with holding(world, LOCKS[which], other.id), Running(world.url) as daemon:
        await rest_goes_on(world, hook)
        await daemon.until("cannot be recorded, set aside", webhook=other.id)
        await rest_goes_on(world, hook)
        if which == "a row of the queue":
            await world.until("select count(*) = 1 from cdc.queue where webhook_id = %s", other.id)
        else:
            # It stops for itself: what is sent could not be recorded.
            assert (
                len(world.came[other.path])
                < daemon.app.settings.unrecorded_limit + SET_ASIDE_LIMIT + 2 * 10
            )
        assert await world.one(OURS) <= SESSIONS
        assert daemon.log.all("settling failed") == []


async def test_what_was_locked_is_recorded_when_it_is_free(world: World, hook: Hook) -> None:
    other = await world.hook("project")
    await world.run(MANY, other.id, 100)
    async with Running(world.url) as daemon:
        async with holding(world, LOCKS["a row of the queue"], other.id):
            await rest_goes_on(world, hook)
        await world.settled()
        assert daemon.app._state().set_aside == 0
    assert len(world.came[other.path]) == 100


async def test_a_locked_registration_is_suspended_later(world: World, hook: Hook) -> None:
    gone = await world.hook("project")
    world.receiver.script(gone.path, Script(reply=Reply(410)))
    async with Running(world.url) as daemon:
        await rest_goes_on(world, hook)
        async with holding(
            world, "update cdc.webhook set max_concurrency = 5 where id = %s", gone.id
        ):
            await world.run(ONE, gone.id, "5")
            await daemon.until("cannot be recorded, set aside", webhook=gone.id)
            await rest_goes_on(world, hook)
            await world.until("select count(*) = 1 from cdc.retry where webhook_id = %s", gone.id)
            assert await world.one(OURS) <= SESSIONS
        await world.until("select state = 'suspended' from cdc.webhook where id = %s", gone.id)


@pytest.mark.parametrize("table", ["shard", "lane"])
async def test_locked_rows_of_the_fleet_stop_only_theirs(
    world: World, hook: Hook, down: str, table: str
) -> None:
    other = await world.hook("project")
    await world.run("update cdc.webhook set endpoint = %s where id = %s", down, other.id)
    await world.run("insert into cdc.lane (webhook_id) values (%s)", other.id)
    async with Running(world.url, breaker_failures=1) as daemon:
        await rest_goes_on(world, hook)
        where = {"shard": "id = %s %% 64", "lane": "webhook_id = %s"}[table]
        async with holding(world, f"select from cdc.{table} where {where} for update", other.id):
            await world.run(ONE, other.id, "5")
            await daemon.until("cannot be recorded, set aside", webhook=other.id)
            await rest_goes_on(world, hook)
            assert await world.one(OURS) <= SESSIONS
        if table == "lane":
            await world.until("select breaker = 'open' from cdc.lane")
        await world.until("select count(*) = 1 from cdc.retry")


async def test_restored_rows_that_are_locked_keep_no_daemon_from_starting(
    world: World, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows with transaction ids of the future are rewritten at the start: these are, later."""
    monkeypatch.setattr(schedule, "SWEEP_EVERY_S", 0.5)
    other = await world.hook("project")
    await world.run(ONE, other.id, "5")
    await world.run("update cdc.queue set xid = '900000000'")
    await world.run("update cdc.webhook set xid = '900000000' where id = %s", other.id)
    async with (
        holding(world, "select from cdc.queue for update"),
        holding(world, "select from cdc.webhook where id = %s for update", other.id),
        Running(world.url) as daemon,
    ):
        await daemon.until("connected")
        await rest_goes_on(world, hook)
        assert daemon.log.all("connection lost") == []
    async with Running(world.url) as daemon:
        await world.settled()


async def test_a_locked_row_of_a_removed_webhook_keeps_no_other_from_being_dropped(
    world: World, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "REMOVED_EVERY_S", 0.2)
    removed = [await world.hook("project") for _ in range(2)]
    for gone in removed:
        await world.run(MANY, gone.id, 10)
        await world.run("update cdc.webhook set state = 'removed' where id = %s", gone.id)
    async with (
        holding(world, LOCKS["a row of the queue"], removed[0].id),
        Running(world.url) as daemon,
    ):
        await world.until("select count(*) = 1 from cdc.queue")
        await rest_goes_on(world, hook)
        assert daemon.log.all("maintenance failed") == []


async def test_a_locked_table_costs_no_connection(world: World, hook: Hook) -> None:
    """Nothing can be recorded: little more is sent, and no session is left behind."""
    async with Running(world.url) as daemon:
        await rest_goes_on(world, hook)
        async with holding(world, "lock table cdc.attempt in exclusive mode"):
            writer = await world.writer()
            for _ in range(30):
                await writer.insert("candidate", project_id=1)
            await daemon.log.seen("settling failed", times=3)
            assert await world.one(OURS) <= SESSIONS
        await world.settled()
    assert world.repeats(hook) == 0


async def test_a_killed_daemon_leaves_nothing_in_the_server(world: World, hook: Hook) -> None:
    """Nor one that gave up: what hangs at a lock ends when its client is gone."""
    async with Process(world.url) as daemon:
        await daemon.until("connected")
        await rest_goes_on(world, hook)
        # The one thing for which a daemon waits longer than a moment.
        async with holding(world, "lock table cdc.queue in access exclusive mode"):
            await world.until(
                "select count(*) > 0 from pg_stat_activity where wait_event_type = 'Lock'"
                " and application_name like 'cdc %%' and datname = current_database()"
            )
            daemon.signal(signal.SIGKILL)
            await daemon.ended()
            await world.until(f"select ({OURS}) = 0", limit=3.0)
