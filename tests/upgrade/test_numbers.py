"""Deliveries get their numbers from another source after an upgrade: order per row holds.

0001 counted by a sequence, today's numbers are positions in the write-ahead log. Each journey is a
list of steps; what was owed before, between and after them arrives in order, each under one id.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import psycopg
import pytest

from cdc.mapping import default_mapping
from cdc.sandbox.embedded import EmbeddedPostgres
from cdc.sandbox.receiver import Reply, Script
from cdc.sandbox.suite import tables_sql
from tests.capture.kit import psql
from tests.cli.command import Command
from tests.daemon.running import Process, Running
from tests.daemon.world import World, Writer
from tests.upgrade.release import Release

# Retried all the time and never dead.
PATIENT: dict[str, Any] = {
    "retry_schedule": ",".join(["0.5"] * 50),
    "breaker_first_probe": 0.2,
    "breaker_max_probe": 0.5,
}
REFUSING = Script(reply=Reply(500))
AHEAD = 10_000_000_000_000
"""How much further the log of the server is that a dump comes from."""

JOURNEYS = {
    "with the daemon stopped": (
        "old write wait stop_old write migrate write install write new write"
    ),
    "beside the daemon, and back to it": (
        "old write wait migrate write install write new write stop_new write"
    ),
    "restored into a younger server": (
        "old write wait stop_old migrate install write restore adopt write new write"
    ),
    "restored first": (
        "old write wait stop_old write restore adopt_old migrate write install write new write"
    ),
}


class Journey:
    """One database, three webhooks on the same rows, and the steps."""

    def __init__(self, world: World, release: Release, postgres: EmbeddedPostgres) -> None:
        self.world, self.release, self.postgres = world, release, postgres
        self.daemons = AsyncExitStack()

    async def begin(self) -> None:
        world = self.world
        self.fine, self.failing, self.held = [await world.hook("candidate") for _ in range(3)]
        world.receiver.script(self.failing.path, REFUSING)
        await world.run("update cdc.webhook set state = 'paused' where id = %s", self.held.id)
        await self._connect()
        self.keys = [await self.writer.insert("candidate", project_id=1) for _ in range(3)]

    async def _connect(self) -> None:
        self.writer: Writer = await self.world.writer()

    async def old(self) -> None:
        self.old_one = await self.daemons.enter_async_context(
            Process(self.world.url, release=self.release.site, **PATIENT)
        )
        await self.old_one.until("started")

    async def new(self) -> None:
        self.new_one = await self.daemons.enter_async_context(
            Running(self.world.url, **(PATIENT | {"retry_schedule": [0.5] * 50}))
        )

    async def stop_old(self) -> None:
        self.old_one.signal(signal.SIGTERM)
        assert await self.old_one.ended() == 0, self.old_one.log.lines

    async def stop_new(self) -> None:
        await self.new_one.stop()

    async def write(self) -> None:
        """Two transactions that change all rows, one of them twice."""
        for _ in range(2):
            async with self.writer.transaction():
                await self.writer.change("candidate", *self.keys)
                await self.writer.change("candidate", self.keys[1])
        self.keys.append(await self.writer.insert("candidate", project_id=1))

    async def wait(self) -> None:
        await self.world.until(
            "select exists (select from cdc.retry where due_at is not null)"
            "   and exists (select from cdc.retry where due_at is null)"
            "   and exists (select from cdc.queue where webhook_id = %s)"
            "   and exists (select from cdc.dead)",
            self.held.id,
        )

    async def migrate(self) -> None:
        await self._command("migrate", "--tries", "200")

    async def install(self) -> None:
        await self._command("triggers", "install", "--tries", "200")

    async def adopt(self) -> None:
        await self._command("adopt", "--yes")

    async def adopt_old(self) -> None:
        await asyncio.to_thread(self.release, self.world.url, "adopt", "--yes")

    async def _command(self, *arguments: str) -> None:
        cdc = Command({"CDC_DATABASE_URL": self.world.url})
        await asyncio.to_thread(cdc.good, *arguments)

    async def restore(self) -> None:
        """A dump of this database in another one, on a server whose log is far behind."""
        world = self.world
        if await world.one("select version_num = '0002' from cdc.schema_version"):
            for column in ("queue.id", "retry.id", "dead.id", "attempt.delivery"):
                table, name = column.split(".")
                await world.run(f"update cdc.{table} set {name} = {name} + {AHEAD}")
        name = world.url.rsplit("/", 1)[-1].split("?")[0]
        copy = self.postgres.url(f"{name}_restored")
        dump = await asyncio.create_subprocess_exec(
            self.postgres.bin_dir / "pg_dump", "-Fc", world.url, stdout=asyncio.subprocess.PIPE
        )
        dumped, _ = await dump.communicate()
        await world.run(f"create database {name}_restored template template0")
        into = await asyncio.create_subprocess_exec(
            *(self.postgres.bin_dir / "pg_restore", "-d", copy), stdin=asyncio.subprocess.PIPE
        )
        await into.communicate(dumped)
        assert (dump.returncode, into.returncode) == (0, 0)
        world.url = copy
        await world.reconnect()
        await self._connect()

    async def end(self) -> None:
        """All is well again: what is owed arrives, and the dead one where it is sent again."""
        world = self.world
        world.receiver.script(self.failing.path, Script())
        await world.run("update cdc.webhook set state = 'active' where id = %s", self.held.id)
        await world.arrived(self.fine, self.failing, self.held)
        await world.settled()
        for hook in (self.fine, self.failing, self.held):
            world.check(hook)
        [(hook, secret, dead)] = await world.all(
            "select webhook_id, secret, uid::text from cdc.dead join cdc.webhook_secret"
            " using (webhook_id)"
        )
        world.receiver.expect("/doomed", secret)
        await world.run(
            "update cdc.webhook set endpoint = %s where id = %s",
            world.receiver.url("/doomed"),
            hook,
        )
        await self._command("delivery", "replay", dead, "--yes")
        await world.receiver.wait_for(lambda _: dead in world.done["/doomed"])


@pytest.fixture(scope="module")
def template(
    postgres: EmbeddedPostgres, admin: psycopg.Connection, release: Release
) -> Iterator[str]:
    """The sample suite with the first release installed, and a delivery that it gave up; each
    journey begins with a copy."""
    admin.execute("create database journeys template template0")
    url = postgres.url("journeys")
    psql(postgres.bin_dir, url, "-qc", tables_sql(default_mapping()))
    release(url, "migrate")
    release(url, "triggers", "install")
    asyncio.run(one_dead(url, release))
    yield "journeys"
    admin.execute("drop database journeys with (force)")


async def one_dead(url: str, release: Release) -> None:
    async with World(url) as world:
        doomed = await world.hook("project")
        world.receiver.script(doomed.path, REFUSING)
        await world.run("insert into project (company_id) values (1)")
        async with Process(url, release=release.site, retry_schedule="0.01") as old:
            await world.until("select exists (select from cdc.dead)")
            old.signal(signal.SIGTERM)
            assert await old.ended() == 0


@pytest.fixture
async def journey(
    template: str, postgres: EmbeddedPostgres, admin: psycopg.Connection, release: Release
) -> AsyncIterator[Journey]:
    admin.execute(f"create database journey template {template}".encode())
    world = World(postgres.url("journey"))
    await world.open("")
    await world.run(
        "update cdc.installation set database_oid = d.oid"
        "  from pg_database d where datname = current_database()"
    )
    made = Journey(world, release, postgres)
    async with made.daemons:
        yield made
    await world.close()
    for name in ("journey", "journey_restored"):
        admin.execute(f"drop database if exists {name} with (force)".encode())


@pytest.mark.timeout(180)
@pytest.mark.parametrize("steps", JOURNEYS.values(), ids=JOURNEYS)
async def test_order_holds(journey: Journey, steps: str) -> None:
    await journey.begin()
    for step in steps.split():
        async with asyncio.timeout(60):
            await getattr(journey, step)()
    await journey.end()
