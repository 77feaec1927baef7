"""Values are included while a daemon of the first release runs: it sends changes without."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

from cdc.sandbox.suite import declaring
from tests.cli.command import Command
from tests.daemon.running import Process
from tests.daemon.world import World
from tests.upgrade.release import Release


async def test_a_daemon_of_the_first_release_sends_it_without(
    old_world: World, release: Release, tmp_path: Path
) -> None:
    world = old_world
    path = tmp_path / "mapping.toml"
    path.write_text(declaring("candidate_changed", 'fields = ["status"]').source)
    await world.run("alter table candidate add status text")
    cdc = Command({"CDC_DATABASE_URL": world.url, "CDC_MAPPING": str(path)})
    hook = await world.hook("candidate")
    async with Process(world.url, release=release.site) as old:
        await old.until("started")
        await asyncio.to_thread(cdc.good, "migrate")
        await asyncio.to_thread(cdc.good, "triggers", "install")
        await world.run("update cdc.subscription set include = '{status}'")
        await world.run("insert into candidate (id, project_id, status) values (71, 1, 'new')")
        await world.receiver.wait_for(lambda _: len(world.done[hook.path]) == 1)
        old.signal(signal.SIGTERM)
        assert await old.ended() == 0
    [got] = world.came[hook.path]
    assert list(json.loads(got.body)["data"]) == ["action", "project", "candidate"]
    assert await world.one("select outcome from cdc.attempt") == "delivered"
