"""Deleted rows are captured once no daemon runs that cannot send them."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from cdc.mapping import default_mapping
from cdc.sandbox.embedded import EmbeddedPostgres
from tests.capture.test_deleted import mapping as all_deleted
from tests.cli.command import Command
from tests.daemon.running import Process
from tests.daemon.world import World
from tests.upgrade.release import Release


async def test_not_while_a_daemon_of_the_first_release_runs(
    old_world: World, release: Release, postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    """It would end at the first deleted row. Nothing is changed, by the command or its script."""
    world = old_world
    path = tmp_path / "mapping.toml"
    path.write_text(all_deleted().source)
    cdc = Command({"CDC_DATABASE_URL": world.url, "CDC_MAPPING": str(path)})
    triggers = "select count(*) from pg_trigger where tgname like 'cdc\\_%%'"
    async with Process(world.url, release=release.site) as old:
        await old.until("started")
        await asyncio.to_thread(cdc.good, "migrate")
        before = await world.one(triggers)
        said = await asyncio.to_thread(cdc.refused, "triggers", "install")
        assert "a daemon of the previous release runs, which cannot send deleted rows" in said
        assert "Stop it and start one of this release" in said
        script = tmp_path / "install.sql"
        script.write_text((await asyncio.to_thread(cdc.good, "triggers", "sql", "--database")).out)
        done = await asyncio.create_subprocess_exec(
            *(postgres.bin_dir / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", script),
            world.url,
            stderr=asyncio.subprocess.PIPE,
        )
        assert b"cannot send deleted rows" in (await done.communicate())[1]
        assert await world.one(triggers) == before
        assert (
            await world.one("select mapping from cdc.installation") == default_mapping().fingerprint
        )
        # Without deleted rows it may be installed meanwhile, and one of today's may join.
        plain = Command({"CDC_DATABASE_URL": world.url})
        await asyncio.to_thread(plain.good, "triggers", "install")
        async with Process(world.url) as new:
            await new.until("started")
            old.signal(signal.SIGTERM)
            assert await old.ended() == 0
            await asyncio.to_thread(cdc.good, "triggers", "install")
            new.signal(signal.SIGTERM)
            assert await new.ended() == 0
    # From the migration on none can start that could not send them.
    async with Process(world.url, release=release.site) as late:
        assert await late.ended() == 1
    assert any("0002" in line and "0001" in line for line in late.other), late.other
