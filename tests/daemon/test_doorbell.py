"""The doorbell, rung by writers in a real database."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from cdc.daemon import doorbell
from cdc.daemon.lease import Lease
from cdc.daemon.store.look import Looker, Seen
from cdc.daemon.store.session import open_session
from cdc.daemon.store.wire import Wire
from tests.daemon.running import Running
from tests.daemon.world import World, Writer

CHANGES = 40
ARMED = "select last_value > extract(epoch from clock_timestamp()) * 1000000 from cdc.bell"
SILENT = "select last_value <= extract(epoch from clock_timestamp()) * 1000000 from cdc.bell"


async def test_a_ring_wakes_a_sleeping_daemon(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Only a ring can be this quick: the slow poll comes much later.
    monkeypatch.setattr(doorbell, "SLOW_POLL_S", 30.0)
    hook = await world.hook()
    writer = await world.writer()
    async with Running(world.url) as daemon:
        for n in range(5):
            await daemon.until("doorbell", mode="sleeping")
            assert await world.one(ARMED)
            began = time.monotonic()
            await writer.insert("candidate", project_id=1)
            await world.arrived(hook)
            assert time.monotonic() - began < 5, n


async def test_a_writer_rings_only_while_the_bell_is_armed(world: World) -> None:
    await world.hook()
    writer, listener = await world.writer(), await world.connect()
    await listener.execute(b"listen cdc")
    rings: list[psycopg.Notify] = []
    listener.add_notify_handler(rings.append)
    until = "select setval('cdc.bell', (extract(epoch from clock_timestamp()) * 1000000)::bigint"

    async def rung() -> int:
        """How often it was rung since the last time; what was sent before has come by then."""
        await listener.execute(b"select")
        count = len(rings)
        rings.clear()
        return count

    await world.run(f"{until} + 60000000)")
    async with writer.transaction():
        for _ in range(3):
            await writer.insert("candidate", project_id=1)
    # Once a transaction, whatever it does; and a writer that queues nothing does not ring.
    await writer.conn.execute(b"insert into company (name) values ('c')")
    await writer.conn.execute(b"insert into project (company_id) values (2)")
    assert await rung() == 1
    await world.run(f"{until} - 1)")
    await writer.insert("candidate", project_id=1)
    assert await rung() == 0


async def test_under_load_the_doorbell_is_silent(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Load that a machine with other things to do can bear as well.
    monkeypatch.setattr(doorbell, "BUSY_FINDS_PER_S", 5)
    monkeypatch.setattr(doorbell, "SWAMPED_FINDS_PER_S", 100_000)
    look = Looker.look

    async def crowded(looker: Looker, **asked: Any) -> Seen:
        seen = await look(looker, **asked)
        return seen if seen.waiting is None else replace(seen, waiting=10)

    monkeypatch.setattr(Looker, "look", crowded)
    hook = await world.hook()
    writers = [await world.writer() for _ in range(4)]
    async with Running(world.url) as daemon:
        await daemon.until("doorbell", mode="sleeping")
        stop = asyncio.Event()

        async def write(writer: Writer) -> None:
            while not stop.is_set():
                await writer.insert("candidate", project_id=1)

        async with asyncio.TaskGroup() as tasks:
            for writer in writers:
                tasks.create_task(write(writer))
            await daemon.until("doorbell", mode="polling")
            # Silenced at once, not when it would have run out, and as long as the load lasts.
            assert await world.one("select last_value from cdc.bell") == 1
            stop.set()
        await world.arrived(hook, limit=30)
        slept = len(daemon.log.all("doorbell", mode="sleeping"))
        await daemon.until("doorbell", mode="sleeping", times=slept + 1)
        assert await world.one(ARMED)


async def test_when_the_daemon_has_gone_the_bell_falls_silent(world: World) -> None:
    async with Running(world.url) as daemon:
        await daemon.until("doorbell", mode="sleeping")
    until = await world.one("select last_value from cdc.bell")
    now = await world.one("select (extract(epoch from clock_timestamp()) * 1000000)::bigint")
    # At most three seconds later, automatically.
    assert until <= now + 3_000_000
    assert await world.one("select last_value from cdc.bell") == until


async def test_without_the_bell_everything_arrives(world: World) -> None:
    hook = await world.hook()
    writer = await world.writer()
    async with Running(world.url, doorbell="off") as daemon:
        await daemon.until("doorbell", mode="bell off")
        for _ in range(3):
            await writer.change("candidate", await writer.insert("candidate", project_id=1))
            await world.arrived(hook)
        assert await world.one("select last_value from cdc.bell") == 1


async def test_lost_rings_cost_a_second_at_most(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def deaf(_: Wire, seconds: float) -> bool:
        await asyncio.sleep(seconds)
        return False

    monkeypatch.setattr(Wire, "listen", deaf)
    hook = await world.hook()
    writer = await world.writer()
    async with Running(world.url) as daemon:
        await daemon.until("doorbell", mode="sleeping")
        key = await writer.insert("candidate", project_id=1)
        await world.arrived(hook, limit=5)
        await writer.change("candidate", key)
        await world.arrived(hook, limit=5)


async def test_the_doorbell_is_not_armed_while_the_notification_queue_is_full(world: World) -> None:
    """pg_notification_queue_usage() is shadowed by one of our own that says what we like."""
    await world.run(
        "create schema fake;"
        "create function fake.pg_notification_queue_usage() returns float8 language sql as"
        " 'select 0.25::float8'"
    )
    conn = await open_session(world.url, "test")
    await conn.execute(b"set search_path = fake, pg_catalog")
    looker = Looker(conn, Lease())
    await looker.begin()
    assert not (await looker.look(arm=True)).armed
    assert await world.one("select last_value from cdc.bell") == 1
    await world.run(
        "create or replace function fake.pg_notification_queue_usage() returns float8"
        " language sql as 'select 0.24::float8'"
    )
    assert (await looker.look(arm=True)).armed
    assert await world.one(ARMED)
    await conn.close()


async def test_unresolved_changes_are_tried_again_without_the_bell(world: World) -> None:
    """Where PREPARE TRANSACTION is in use the bell is off; late capture must go on all the same."""
    hook = await world.hook()
    writer = await world.writer()
    late = await world.connect()
    await world.run("alter table rating drop constraint rating_candidate_id_fkey")
    async with Running(world.url, doorbell="off") as daemon:
        # A writer whose snapshot does not show the parent: the change cannot be placed yet.
        await late.execute(b"begin isolation level repeatable read")
        await late.execute(b"select from company")
        key = await writer.insert("candidate", project_id=1)
        await late.execute(f"insert into rating (candidate_id) values ({key})".encode())
        await late.execute(b"commit")
        await daemon.until("captured late")
        await world.receiver.wait_for(lambda _: len(world.done[hook.path]) == 2)
    assert await world.one("select count(*) from cdc.unresolved") == 0


async def test_a_change_costs_one_look(world: World) -> None:
    """The ring that wakes the daemon is no reason for another look once that one has seen its row;
    nearly all of them are glances, which ask for new rows only."""
    hook = await world.hook("candidate")
    writer = await world.writer()
    async with Running(world.url) as daemon:
        key = await writer.insert("candidate", project_id=1)
        await world.arrived(hook)
        await daemon.until("doorbell", mode="sleeping")
        before, began = daemon.observer.counts.looks, time.monotonic()
        for _ in range(CHANGES):
            await writer.change("candidate", key)
            await world.arrived(hook)
        looks, took = daemon.observer.counts.looks - before, time.monotonic() - began
        assert daemon.app._watcher is not None
        assert daemon.app._watcher.bell_mode == "sleeping"
    assert looks <= CHANGES * 1.4 + 4 * took


async def test_a_registration_is_seen_while_rows_keep_coming(world: World) -> None:
    """Glances do not read registrations, and a look that does follows soon."""
    first, writer = await world.hook("candidate"), await world.writer()
    async with Running(world.url) as daemon:
        key = await writer.insert("candidate", project_id=1)
        await world.arrived(first)
        await daemon.until("doorbell", mode="sleeping")
        for cap in range(3, 6):
            await writer.change("candidate", key)
            await world.arrived(first)
            await world.run(
                "update cdc.webhook set max_concurrency = %s where id = %s", cap, first.id
            )
            version = await world.version(first)
            until = time.monotonic() + 30.0
            while not daemon.log.all("registration changed", webhook=first.id, version=version):
                assert time.monotonic() < until
                await writer.change("candidate", key)
                await world.arrived(first)


async def test_an_idle_daemon_sleeps_between_its_looks(world: World) -> None:
    """Without a ring it looks once a second."""
    async with Running(world.url) as daemon:
        await daemon.until("doorbell", mode="sleeping")
        before = daemon.observer.counts.looks
        await world.run("select pg_sleep(2)")
        assert daemon.observer.counts.looks - before <= 10
