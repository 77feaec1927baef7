"""What this machine cannot do is no failure of a receiver."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cdc.model import THIS_MACHINE, UNUSABLE
from cdc.sandbox.receiver import Reply, Script
from tests.daemon.running import LIMIT, Process
from tests.daemon.world import World


@contextmanager
def no_descriptors(pid: int) -> Iterator[None]:
    """The process can open nothing more."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, before[1]))
    yield
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
async def test_without_descriptors_nothing_fails_and_all_is_sent_later(
    world: World, name: str
) -> None:
    hook = await world.hook("candidate")
    # No connection is kept that could be used again.
    world.receiver.script(hook.path, Script(reply=Reply(headers={"Connection": "close"})))
    await world.run("update cdc.webhook set endpoint = replace(endpoint, '127.0.0.1', %s)", name)
    writer = await world.writer()
    async with Process(world.url, retry_schedule="1000") as daemon:
        await daemon.until("connected")
        await writer.insert("candidate", project_id=1)
        await world.settled()
        with no_descriptors(daemon.pid):
            for _ in range(3):
                await writer.insert("candidate", project_id=1)
            line = await daemon.until("this machine cannot connect, deliveries wait")
            assert line.values["error"] == os.strerror(24)
            await world.until(
                "select starts_with(last_error, %s) from cdc.lane", UNUSABLE + THIS_MACHINE
            )
        await world.arrived(hook, limit=LIMIT)
        await world.settled()
        await world.until("select last_error is null from cdc.lane")
    assert await world.all("select outcome, try from cdc.attempt") == [("delivered", 1)] * 4
    assert await world.one("select count(*) from cdc.dead") == 0
