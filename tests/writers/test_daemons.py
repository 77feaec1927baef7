"""Whatever state the daemons are in, the suite's writers neither fail nor wait."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest

from cdc.sandbox.embedded import EmbeddedPostgres
from cdc.sandbox.receiver import Reply, Script
from tests.cli.command import Command
from tests.daemon.running import Process, Running
from tests.daemon.test_doorbell import ARMED, SILENT
from tests.daemon.world import World
from tests.support import installation

AT_MOST = "5s"
"""No statement of the suite may take so long here, whatever it would be waiting for."""


@pytest.fixture
async def world(database: str) -> AsyncIterator[World]:
    installation.adopt(database)
    async with World(database) as made:
        yield made


async def write(world: World, times: int = 20) -> None:
    """A writer of the suite goes on writing, and says so when a statement takes too long."""
    writer = await world.writer()
    await writer.conn.execute(f"set statement_timeout = '{AT_MOST}'".encode())
    key = await writer.insert("candidate", project_id=1)
    for _ in range(times):
        await writer.change("candidate", key)


async def rings(world: World) -> list[psycopg.Notify]:
    """What is rung from now on, on a connection that has to be read to get it."""
    listener = await world.connect()
    await listener.execute(b"listen cdc")
    heard: list[psycopg.Notify] = []
    listener.add_notify_handler(heard.append)
    return heard


async def test_killed_with_the_bell_armed(world: World) -> None:
    """It rings until its time is over, three seconds at most; from then on writers pay nothing."""
    await world.hook()
    async with Process(world.url) as killed:
        await killed.until("connected")
        await world.until(ARMED)
        killed.signal(signal.SIGKILL)
        await killed.ended()
    until, now = (
        await world.all(
            "select last_value, (extract(epoch from clock_timestamp()) * 1000000)::bigint"
            "  from cdc.bell"
        )
    )[0]
    assert until <= now + 3_000_000
    await write(world)
    await world.until(SILENT)
    heard = await rings(world)
    await write(world)
    assert not heard
    assert await world.one("select last_value from cdc.bell") == until, "a daemon arms it still"
    # A later daemon finds all that was written.
    async with Running(world.url):
        await world.settled()


async def test_killed_while_busy(world: World) -> None:
    """In the middle of sending and settling, with receivers that take their time."""
    hook = await world.hook(max_concurrency=100)
    world.receiver.script(hook.path, Script(delay=0.05))
    async with Process(world.url) as killed:
        await killed.until("connected")
        async with asyncio.TaskGroup() as tasks:
            for _ in range(4):
                tasks.create_task(write(world, 50))
            await world.receiver.wait_for(40)
            killed.signal(signal.SIGKILL)
            await killed.ended()
    await write(world)
    async with Running(world.url):
        await world.arrived(hook, limit=60)
        await world.settled()


async def test_stopped_in_the_middle_of_settling(world: World) -> None:
    """It holds row locks, of its shards, of the queue and even of a webhook, and does not move.

    Writers do not notice. A command of a person that needs the webhook's row waits until the
    server ends the transaction, after 2 s.
    """
    hook = await world.hook()
    world.receiver.script(hook.path, Script(reply=Reply(410)))
    async with Process(world.url) as stopped:
        await stopped.until("connected")
        # The suspension that follows a 410 waits for this row, in the middle of its transaction.
        blocker = await world.connect()
        await blocker.execute(b"begin")
        await blocker.execute(b"select from cdc.webhook for update")
        await write(world, 3)
        waits = (
            "select count(*) > 0 from pg_stat_activity where application_name = 'cdc settle'"
            " and datname = current_database() and "
        )
        await world.until(waits + "wait_event_type = 'Lock'")
        stopped.signal(signal.SIGSTOP)
        await blocker.execute(b"rollback")
        await world.until(waits + "state = 'idle in transaction'")
        free = "select from cdc.webhook for update skip locked"
        assert await world.all(free) == [], "the daemon holds the row"
        await write(world)
        pausing = Command({"CDC_DATABASE_URL": world.url})
        async with asyncio.timeout(10):
            done = await asyncio.to_thread(
                pausing, "webhook", "update", hook.id, "--description", "they are gone"
            )
        assert done.code == 0, done
        await write(world)


@pytest.fixture
def small_queue() -> Iterator[EmbeddedPostgres]:
    """A server whose notification queue can be filled: 64 pages instead of 8 GB."""
    with EmbeddedPostgres() as server:
        version = int(server.version.split(".")[0])
    if version < 17:
        pytest.skip(
            "before PostgreSQL 17 the notification queue holds 8 GB; there "
            "tests/daemon/test_doorbell.py fakes its state"
        )
    with EmbeddedPostgres(settings={"max_notify_queue_pages": "64"}) as server:
        installation.prepare_template(server.url())
        yield server


async def fill(world: World, share: float) -> None:
    """Notifications of another session, until the queue is that full."""
    while await world.one("select pg_notification_queue_usage()") < share:
        await world.run("select pg_notify('theirs', repeat('x', 7000))")


async def test_a_session_that_listens_and_does_not_read(small_queue: EmbeddedPostgres) -> None:
    """The notification queue fills. When full, a writer that rings fails: so none rings."""
    async with World(small_queue.url()) as world:
        hook = await world.hook()
        command = Command(
            {
                "CDC_DATABASE_URL": world.url,
                "CDC_ALLOW_HTTP": "true",
                "CDC_ALLOWED_NETWORKS": "127.0.0.0/8",
            }
        )

        def verdict_of(word: str) -> str:
            checks = command("doctor", "--json").json["checks"]
            found = next(c for c in checks if c["check"] == "notifications")
            assert word in found["message"]
            return str(found["verdict"])

        async with Running(world.url) as daemon:
            await daemon.until("doorbell", mode="sleeping")
            sleeper = await world.connect()
            await sleeper.execute(b"listen theirs")
            await sleeper.execute(b"begin")
            await sleeper.execute(b"select pg_current_xact_id()")
            await fill(world, 0.3)
            await daemon.until("doorbell", mode="bell off")
            await world.until(SILENT)
            named = f"process {sleeper.info.backend_pid} "
            assert await asyncio.to_thread(verdict_of, named) == "warn"
            with pytest.raises(psycopg.OperationalError, match="too many notifications"):
                await fill(world, 2.0)
            # Others cannot notify any more. Writers go on, deliveries arrive, people can register.
            await write(world)
            await world.arrived(hook)
            assert await asyncio.to_thread(verdict_of, named) == "fail"
            paused = await asyncio.to_thread(command, "webhook", "pause", hook.id)
            assert paused.code == 0, paused
            resumed = await asyncio.to_thread(command, "webhook", "resume", hook.id)
            assert resumed.code == 0, resumed
            await write(world)
            await world.arrived(hook)
            slept = len(daemon.log.all("doorbell", mode="sleeping"))
            await sleeper.execute(b"rollback")
            await daemon.until("doorbell", mode="sleeping", times=slept + 1)
