"""The database goes away and comes back; connections are cut and stall. Nothing is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

import psycopg
import pytest

from cdc.daemon import doorbell, lease
from cdc.daemon.maintenance import schedule
from cdc.daemon.store import session
from cdc.sandbox.embedded import EmbeddedPostgres
from tests.daemon.running import Running, eventually
from tests.daemon.world import Hook, World, Writer
from tests.support import installation
from tests.support.proxy import Proxy


@asynccontextmanager
async def writing(world: World, rows: int = 10) -> AsyncIterator[None]:
    """A session writes, directly to the database, for as long as the block lasts."""
    writer = await world.writer()
    keys = [await writer.insert("candidate", project_id=1) for _ in range(rows)]
    stop = asyncio.Event()

    async def write(writer: Writer) -> None:
        while not stop.is_set():
            await writer.change("candidate", *keys)
            await asyncio.sleep(0.01)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(write(writer))
        try:
            yield
        finally:
            stop.set()


async def sent(world: World, hook: Hook, more: int) -> None:
    """Waits until so many more have come."""
    until = len(world.came[hook.path]) + more
    await world.receiver.wait_for(lambda _: len(world.came[hook.path]) >= until)


@pytest.mark.parametrize("role", [None, "watch", "fetch", "settle"])
async def test_a_connection_is_cut_again_and_again(world: World, role: str | None) -> None:
    hook = await world.hook()
    async with Proxy(world.url) as proxy, Running(proxy.url, window=15) as daemon:
        async with writing(world):
            for _ in range(3):
                await eventually(lambda: "watch" in proxy.roles, "it is connected")
                await sent(world, hook, 20)
                proxy.cut(role)
            await sent(world, hook, 20)
        await world.arrived(hook, limit=30)
        await world.settled()
        assert daemon.observer.counts.swept == 0
    # What was in flight is sent again, or was recorded later: never under another id.
    assert world.repeats(hook) < 100


# How often something may come again: what was in flight and what was just being settled; after a
# crash also what was settled in its last moments, because settling does not wait for the disk.
@pytest.mark.parametrize(("mode", "again"), [("fast", 30), ("immediate", 500)])
async def test_a_restart_of_the_server_loses_nothing(
    mode: Literal["fast", "immediate"], again: int
) -> None:
    with EmbeddedPostgres() as server:
        installation.prepare_template(server.url())
        async with World(server.url()) as world:
            hook = await world.hook()
            writer = await world.writer()
            keys = [await writer.insert("candidate", project_id=1) for _ in range(50)]
            async with Running(world.url, window=40) as daemon:
                for _ in range(20):
                    await writer.change("candidate", *keys)
                await world.receiver.wait_for(100)
                server.stop(mode)
                await daemon.log.seen("connection lost", times=2)  # it keeps trying
                server.start()
                await world.reconnect()
                await world.arrived(hook, limit=60)
                await world.settled()
                assert daemon.observer.counts.swept == 0
            assert world.repeats(hook) <= again


async def test_a_stalled_connection_stops_the_sending_and_is_replaced(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Shorter, for the test; the session's idle timeout at the server stays what it is.
    monkeypatch.setattr(lease, "SEND_WITHIN_S", 0.7)
    monkeypatch.setattr(session, "ANSWER_WITHIN_S", 1.5)
    hook = await world.hook()
    async with Proxy(world.url) as proxy, Running(proxy.url, window=10_000) as daemon:
        watching = daemon.app._watcher
        async with writing(world):
            await sent(world, hook, 50)
            proxy.stall("watch")
            stalled = time.perf_counter()
            await daemon.until("connection lost")
            lost = time.perf_counter()
            proxy.go_on()
            await daemon.until("connected", times=2)
        await world.arrived(hook, limit=30)
        assert watching is not daemon.app._watcher
    assert lost - stalled < 6
    came = [got.clock for got in world.came[hook.path]]
    # The last answered look may be as old as the stall; what was on its way then may still come.
    assert not [at for at in came if stalled + 0.7 + 0.3 < at < lost]
    assert [at for at in came if at > lost]


async def test_a_stalled_settlement_is_given_up_and_made_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "ANSWER_WITHIN_S", 0.5)
    hook = await world.hook()
    writer = await world.writer()
    async with Proxy(world.url) as proxy, Running(proxy.url) as daemon:
        key = await writer.insert("candidate", project_id=1)
        await world.settled()
        proxy.stall("settle")
        await writer.change("candidate", key)
        await world.arrived(hook)
        await daemon.until("settling failed")
        proxy.go_on()
        await world.settled()
    assert world.repeats(hook) == 0
    assert await world.one("select count(*) from cdc.attempt") == 2


async def test_a_stalled_fetch_is_given_up_and_made_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "ANSWER_WITHIN_S", 1.0)
    hook = await world.hook()
    async with Proxy(world.url) as proxy, Running(proxy.url, window=15) as daemon:
        async with writing(world):
            await sent(world, hook, 20)
            proxy.stall("fetch")
            await daemon.until("connection lost")
            proxy.go_on()
            await daemon.until("connected", times=2)
        await world.arrived(hook, limit=60)
        await world.settled()


async def test_after_a_reconnection_it_listens_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written meanwhile is sent at once; the slow poll is too slow to be the reason."""
    monkeypatch.setattr(doorbell, "SLOW_POLL_S", 30.0)
    # As long as the slow poll is late, the session must not end for idleness, nor sending stop.
    monkeypatch.setitem(session._OWNER_SESSION, "idle_session_timeout", "60s")
    monkeypatch.setattr(lease, "SEND_WITHIN_S", 60.0)
    hook = await world.hook()
    writer = await world.writer()
    async with Proxy(world.url) as proxy, Running(proxy.url) as daemon:
        for times in range(1, 4):
            await daemon.until("doorbell", mode="sleeping", times=times)
            proxy.refuse()
            proxy.cut("watch")
            await daemon.until("connection lost", times=times)
            await writer.insert("candidate", project_id=1)
            came_back = time.monotonic()
            proxy.go_on()
            await world.arrived(hook)
            await daemon.until("doorbell", mode="sleeping", times=times + 1)
            await writer.insert("candidate", project_id=1)
            await world.arrived(hook)
            assert time.monotonic() - came_back < 25, "the slow poll found it, nothing else"


@pytest.mark.parametrize("role", ["watch", "fetch", "settle", "care"])
async def test_a_session_is_terminated_by_the_dba(
    world: World, monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    """By pg_terminate_backend, again and again, while it works."""
    monkeypatch.setattr(schedule, "SWEEP_EVERY_S", 0.0)  # a round of care each second
    hook = await world.hook()
    kill = (
        "select count(pg_terminate_backend(pid)) > 0 from pg_stat_activity"
        " where application_name = %s and datname = current_database()"
    )
    async with Running(world.url, window=15) as daemon:
        async with writing(world):
            for _ in range(3):
                await sent(world, hook, 20)
                await world.until(kill, f"cdc {role}")
            await sent(world, hook, 20)
        await world.arrived(hook, limit=60)
        await world.settled()
        assert daemon.observer.counts.swept == 0
        logged = {"settle": "settling failed", "care": "maintenance failed"}.get(
            role, "connection lost"
        )
        assert daemon.log.all(logged)


async def test_it_waits_for_a_database_that_is_down_at_the_start(world: World) -> None:
    hook = await world.hook()
    writer = await world.writer()
    await writer.insert("candidate", project_id=1)
    async with Proxy(world.url) as proxy:
        proxy.refuse()
        daemon = Running(proxy.url)
        daemon.begin()
        await daemon.until("connection lost", times=2)
        proxy.go_on()
        await world.arrived(hook)
        await daemon.stop()


@pytest.mark.parametrize("owning", [True, False])
async def test_no_session_outlives_a_daemon_that_stands_still(suite_url: str, owning: bool) -> None:
    """Who is stopped in the middle of a transaction must not keep rows locked for ever, and who is
    stopped at all no shards."""
    conn = await session.open_session(suite_url, "test", owning=owning)
    cursor = await conn.execute(
        b"select name, setting || coalesce(unit, '') from pg_settings where name = any($1)",
        [["idle_in_transaction_session_timeout", "idle_session_timeout", "tcp_user_timeout"]],
    )
    assert dict(await cursor.fetchall()) == {
        "idle_in_transaction_session_timeout": "2000ms",
        "idle_session_timeout": "3000ms" if owning else "0ms",
        "tcp_user_timeout": "5000ms",
    }
    cursor = await conn.execute(
        b"select name, setting from pg_settings where name like 'tcp_keepalives_%'"
    )
    assert dict(await cursor.fetchall()) == {
        "tcp_keepalives_count": "3",
        "tcp_keepalives_idle": "2",
        "tcp_keepalives_interval": "1",
    }
    await conn.close()


async def test_another_database_in_its_place_is_refused(world: World) -> None:
    """What comes back may be a copy: nothing may be sent from there."""
    daemon = Running(world.url)
    daemon.begin()
    await daemon.until("connected")
    await world.run("update cdc.installation set system_identifier = 1")
    await world.run(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where application_name = 'cdc watch' and datname = current_database()"
    )
    with pytest.raises(Exception, match="copy"):
        await daemon.end()


async def test_a_session_that_the_server_ended_in_a_transaction_is_a_lost_connection(
    world: World,
) -> None:
    """After a daemon stood still (SIGSTOP, a suspended machine) in the middle of settling."""
    conn = await session.open_session(world.url, "settle")

    async def stand_still() -> None:
        with session.answering(conn, "settling"):
            async with conn.transaction():
                # Here, not before: on a busy machine BEGIN alone would be idle for so long.
                await session.execute(
                    conn, b"set local idle_in_transaction_session_timeout = '10ms'"
                )
                await world.until(
                    "select not exists (select from pg_stat_activity where pid = %s)",
                    conn.info.backend_pid,
                )
                await session.execute(conn, b"select 1")

    with pytest.raises(psycopg.OperationalError, match="idle-in-transaction"):
        await stand_still()
    await conn.close()


async def test_a_server_that_takes_no_writes_for_a_while_is_waited_for(world: World) -> None:
    """Managed servers do it to a database whose disk is full. The daemon used to end with it."""
    hook = await world.hook()
    writer = await world.writer()
    name = await world.one("select quote_ident(current_database())")
    async with Running(world.url) as daemon:
        await daemon.until("connected")
        await world.run(f"alter database {name} set default_transaction_read_only = on")
        await world.run(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where application_name like 'cdc %' and datname = current_database()"
        )
        await eventually(lambda: "accepts no writes" in str(daemon.log.lines), "it says why")
        await writer.insert("candidate", project_id=1)
        await world.run(f"alter database {name} reset default_transaction_read_only")
        await world.arrived(hook)
        assert "after" in daemon.log.all("connected")[-1].values
