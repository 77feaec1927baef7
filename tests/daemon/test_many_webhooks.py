"""Very many webhooks: whatever concerns them all at once keeps nothing else waiting."""

from __future__ import annotations

import asyncio
import os
import re
import urllib.request
from collections import Counter as Tally
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from cdc.message.signing_keys import new_secret
from tests.bench.load.receiver import RECORD, Counter, Desk
from tests.daemon.running import Process, eventually
from tests.daemon.world import World

SMALL, LARGE = 5_000, 100_000
MEMORY_MB = 200
REGISTERED_MB = 100
LIMIT = 600.0  # seconds for 100,000 deliveries, with all that the machine has to do beside

SIZES = [SMALL, pytest.param(LARGE, marks=[pytest.mark.long, pytest.mark.timeout(1800)])]


class Daemon(NamedTuple):
    """A daemon as a process, and where its metrics are."""

    process: Process
    port: int

    def slow_looks(self, seconds: int) -> tuple[float, float]:
        """Looks that were answered later than that after they were due, and all of them."""
        page = self.metrics()
        (quick,) = re.findall(rf'cdc_look_seconds_bucket\{{le="{seconds}"\}} (\S+)', page)
        (all_,) = re.findall(r"cdc_look_seconds_count (\S+)", page)
        return float(all_) - float(quick), float(all_)

    def metrics(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics") as answer:
            page: str = answer.read().decode()
        return page

    def peak_mb(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (kilobytes,) = re.findall(r"VmHWM:\s+(\d+) kB", status)
        return int(kilobytes) / 1024


@asynccontextmanager
async def running(world: World) -> AsyncIterator[Daemon]:
    async with Process(world.url, http_port=0, fresh=True) as process:
        line = await process.until("serving health and metrics")
        yield Daemon(process, line.values["port"])


class Crowd:
    """Webhooks of one company, and a receiver that only counts, by the webhook's number."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.desk = Desk()

    async def open(self, webhooks: int) -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Counter(self.desk), "127.0.0.1", 0, backlog=4096)
        self.server = server
        port = server.sockets[0].getsockname()[1]
        run = self.world.run
        await run(
            "insert into cdc.webhook (id, company, endpoint)"
            " select n, '1', 'http://127.0.0.1:' || %s::text || '/' || n"
            " from generate_series(1, %s) n",
            port,
            webhooks,
        )
        secret = new_secret()
        await run("insert into cdc.webhook_secret select id, %s from cdc.webhook", secret)
        await run(
            "insert into cdc.subscription select company, 'candidate_changed', id from cdc.webhook"
        )
        await run("analyze cdc.webhook, cdc.subscription")

    async def close(self) -> None:
        self.server.close()
        await self.server.wait_closed()

    def came(self) -> Tally[int]:
        """How much came, by webhook."""
        return Tally(hook for _, hook, _, _ in RECORD.iter_unpack(self.desk.records))

    async def until(self, deliveries: int) -> None:
        await eventually(
            lambda: len(self.desk.records) >= deliveries * RECORD.size,
            f"{deliveries} deliveries",
            LIMIT,
            pause=0.05,
        )


@pytest.mark.parametrize("webhooks", SIZES)
async def test_registered_webhooks_without_changes_take_no_memory(
    world: World, webhooks: int
) -> None:
    """A worker is opened for those that have something to do, and for 5,000 at most."""
    crowd = Crowd(world)
    await crowd.open(webhooks)
    other = await world.hook("candidate", company="2", id=webhooks + 1)
    writer = await world.writer()
    async with running(world) as daemon:
        project = await writer.insert("project", company_id=2)
        await writer.insert("candidate", project_id=int(project))
        await world.arrived(other)
        print(f"{webhooks} registered: VmHWM {daemon.peak_mb():.0f} MB")
        assert daemon.peak_mb() < REGISTERED_MB
        assert 'cdc_lanes{state="closed"} 1.0' in daemon.metrics()
    await crowd.close()


@pytest.mark.parametrize("webhooks", SIZES)
async def test_each_has_something_waiting(world: World, webhooks: int) -> None:
    """At the start of a daemon; then all get something at once; then all are changed at once. The
    looks go on meanwhile, and with them the ping that keeps the shards."""
    crowd = Crowd(world)
    await crowd.open(webhooks)
    writer = await world.writer()
    key = await writer.insert("candidate", project_id=1)
    async with running(world) as daemon:
        await crowd.until(webhooks)
        await writer.change("candidate", key)
        await crowd.until(2 * webhooks)
        await world.settled(LIMIT)
        assert crowd.came() == dict.fromkeys(range(1, webhooks + 1), 2)
        await world.run("update cdc.webhook set description = 'changed'")
        await writer.change("candidate", key)
        await crowd.until(3 * webhooks)
        await world.settled(LIMIT)
        # On a machine that others use a process may get no CPU for a second; at 2 it would stop
        # sending.
        slow, looks = daemon.slow_looks(1 if os.getloadavg()[0] < 4 else 2)
        print(f"{webhooks} webhooks: {looks:.0f} looks, VmHWM {daemon.peak_mb():.0f} MB")
        assert not slow
        assert daemon.peak_mb() < MEMORY_MB
        assert not daemon.process.log.all("connection lost")
        assert not daemon.process.log.all("this process was stalled")
    assert crowd.came() == dict.fromkeys(range(1, webhooks + 1), 3)
    await crowd.close()
