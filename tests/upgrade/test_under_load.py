"""A database of the first release is brought up to date while the suite writes and daemons send."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

import pytest

from cdc.postgres import connections, sqlfiles
from cdc.sandbox.embedded import EmbeddedPostgres
from cdc.sandbox.receiver import Reply, Script
from cdc.schema import migrations
from cdc.webhooks import trials
from cdc.webhooks.audit import Actor
from tests.capture.kit import psql
from tests.daemon.running import Process
from tests.daemon.world import Hook, World, Writer
from tests.upgrade.release import Release

REFUSING = Script(reply=Reply(500))
# Retried all the time, so that something always is; and never dead, so that all of it must arrive.
STUBBORN: dict[str, Any] = {
    "retry_schedule": ",".join(["2"] * 50),
    "breaker_first_probe": 0.2,
    "breaker_max_probe": 0.5,
}


class Load:
    """Writers who go on until they are stopped; what they commit is in the world's ledger."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._tasks: list[asyncio.Task[None]] = []
        self._stop = asyncio.Event()
        self.written = 0

    async def __aenter__(self) -> Self:
        for _ in range(2):
            self._tasks.append(asyncio.create_task(self._write(await self._world.writer())))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _write(self, writer: Writer) -> None:
        key = ""
        while not self._stop.is_set():
            if not key or self.written % 3 == 0:
                key = await writer.insert("candidate", project_id=1)
            else:
                await writer.change("candidate", key)
            self.written += 1
            await asyncio.sleep(0.01)  # a load, not a flood

    async def more(self, number: int = 20) -> None:
        """Waits until so many changes more were committed."""
        wanted = self.written + number
        async with asyncio.timeout(60):
            while self.written < wanted:
                for task in self._tasks:
                    if task.done():
                        task.result()
                await asyncio.sleep(0.01)

    async def stop(self) -> None:
        self._stop.set()
        await asyncio.gather(*self._tasks)


async def command(url: str, *arguments: str) -> str:
    """Today's ``cdc`` as a process; returns what it says."""
    made = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cdc", *arguments),
        env={"CDC_DATABASE_URL": url, "PATH": "/usr/bin:/bin"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, output = await made.communicate()
    assert made.returncode == 0, output.decode()
    return output.decode()


async def one_that_is_dead(world: World, release: Release) -> Hook:
    """A webhook whose only delivery has used up its budget."""
    doomed = await world.hook("rating")
    world.receiver.script(doomed.path, REFUSING)
    writer = await world.writer()
    candidate = await writer.insert("candidate", project_id=1)
    async with Process(world.url, release=release.site, retry_schedule="0.01") as old:
        await old.until("started")
        await writer.insert("rating", candidate_id=int(candidate))
        await world.until("select exists (select from cdc.dead)")
        old.signal(signal.SIGTERM)
        assert await old.ended() == 0
    return doomed


def schema(postgres: EmbeddedPostgres, url: str) -> list[str]:
    done = subprocess.run(
        [postgres.bin_dir / "pg_dump", "-s", "-n", "cdc", url],
        capture_output=True,
        text=True,
        check=True,
    )
    return [line for line in done.stdout.splitlines() if not line.startswith(("\\", "--"))]


@pytest.mark.timeout(300)
async def test_nothing_is_lost(old_world: World, release: Release) -> None:
    world = old_world
    doomed = await one_that_is_dead(world, release)
    world.ledger.entries.clear()  # the webhooks below were not there yet
    fine, failing, held = [await world.hook("candidate") for _ in range(3)]
    world.receiver.script(failing.path, REFUSING)
    await world.run("update cdc.webhook set state = 'paused' where id = %s", held.id)
    async with AsyncExitStack() as stack:
        load = await stack.enter_async_context(Load(world))
        old = [
            await stack.enter_async_context(Process(world.url, release=release.site, **STUBBORN))
            for _ in range(2)
        ]
        for process in old:
            await process.until("started")
        # All kinds of deliveries are there, and go on coming.
        await world.until(
            "select exists (select from cdc.retry where due_at is not null)"
            "   and exists (select from cdc.retry where due_at is null)"
            "   and exists (select from cdc.queue where webhook_id = %s)"
            "   and exists (select from cdc.attempt where outcome = 'delivered')"
            "   and exists (select from cdc.dead)",
            held.id,
        )

        await command(world.url, "migrate", "--tries", "200")
        assert await world.one("select version_num from cdc.schema_version") == migrations.head()
        # The old daemons go on, with capture as the first release made it.
        await load.more()
        taken = len(world.done[fine.path])
        await load.more()
        await world.receiver.wait_for(lambda _: len(world.done[fine.path]) > taken + 5)
        assert [process.code for process in old] == [None, None]
        assert await world.one("select count(*) from cdc.attempt where xid = '0'")

        # A webhook's test, which they do not know of, waits for one that does.
        with connections.engine(world.url).begin() as conn:
            trials.start(conn, Actor("test"), doomed.id)
        await load.more()
        assert await world.one("select state from cdc.task") == "waiting"
        assert [process.code for process in old] == [None, None]

        # No table of the suite is locked: its triggers stay, what they call is exchanged.
        await command(world.url, "triggers", "install", "--tries", "200")
        await load.more()
        new = await stack.enter_async_context(Process(world.url, **STUBBORN))
        await new.until("started")
        await load.more()
        for process in old:
            process.signal(signal.SIGTERM)
            assert await process.ended() == 0, process.log.lines
        await load.more()
        await load.stop()
        world.receiver.script(failing.path, Script())
        await world.run("update cdc.webhook set state = 'active' where id = %s", held.id)
        await world.arrived(fine, failing, held, limit=120)
        await world.until(
            "select not exists (select from cdc.queue) and not exists (select from cdc.retry)"
        )
        # What was dead before is dead now, and can be sent again.
        [(dead,)] = await world.all("select uid::text from cdc.dead")
        world.receiver.script(doomed.path, Script())
        with connections.engine(world.url).begin() as conn:
            tested = trials.start(conn, Actor("test"), doomed.id)["id"]
        await world.until("select (result -> 'ok')::bool from cdc.task where id = %s", tested)
        await command(world.url, "delivery", "replay", dead, "--yes")
        await world.receiver.wait_for(lambda _: dead in world.done[doomed.path])
        new.signal(signal.SIGTERM)
        assert await new.ended() == 0


async def test_an_old_daemon_that_comes_back_stops_and_says_why(
    old_world: World, release: Release
) -> None:
    """The first release knows no other version than its own: it stops, and loses nothing."""
    async with Process(old_world.url, release=release.site) as old:
        await old.until("started")
        await command(old_world.url, "migrate")
        await old_world.run(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where application_name = 'cdc watch'"
        )
        assert await old.ended() == 1
    assert any("0002" in line and "0001" in line for line in old.other), old.other


async def test_capture_is_exchanged_without_a_lock_on_the_suite(
    old_world: World, postgres: EmbeddedPostgres, empty_database: str
) -> None:
    """A writer is in the middle of a transaction on every table, and stays there."""
    await command(old_world.url, "migrate")
    writing = await old_world.connect()
    await writing.execute(
        "begin; lock table project, candidate, answervideo, rating, note in row exclusive mode"
    )
    output = await command(old_world.url, "triggers", "install", "--tries", "1")
    assert "Capture is installed" in output
    await writing.execute("rollback")
    assert (
        await old_world.one(
            "select count(*) from pg_proc p where pronamespace = 'cdc'::regnamespace"
            " and (proname like 'capture%%' or proname like 'resolve\\_%%')"
            " and proname <> 'resolve_at_commit'"
        )
        == 0
    )
    assert (
        await old_world.one(
            "select count(*) from information_schema.column_privileges"
            " where grantee = 'cdc_owner' and table_schema = 'public'"
        )
        == 0
    )
    await command(old_world.url, "triggers", "status")


def test_what_comes_of_it_is_what_a_fresh_installation_gives(
    old_database: str, postgres: EmbeddedPostgres, admin: object, tmp_path: Path
) -> None:
    import psycopg

    assert isinstance(admin, psycopg.Connection)
    migrations.upgrade(old_database)
    admin.execute("create database fresh_today")
    try:
        fresh = postgres.url("fresh_today")
        psql(postgres.bin_dir, fresh, "-f", sqlfiles.root() / "install.sql")
        # Capture of the first release is still there, until it is exchanged.
        with psycopg.connect(old_database, autocommit=True) as conn:
            conn.execute(
                "do $$ declare f record; begin for f in select oid::regprocedure as it from pg_proc"
                " where pronamespace = 'cdc'::regnamespace and proname <> 'resolve_at_commit'"
                " and (proname like 'capture\\_%' or proname like 'resolve\\_%')"
                " loop execute 'drop function ' || f.it || ' cascade'; end loop; end $$"
            )
        assert schema(postgres, old_database) == schema(postgres, fresh)
    finally:
        admin.execute("drop database fresh_today with (force)")
