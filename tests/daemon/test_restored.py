"""A database that was restored from a dump: transaction ids of the future, a sequence that lags."""

from __future__ import annotations

import pytest

from cdc.cli import adopt
from cdc.daemon import watcher
from tests.daemon.running import Running
from tests.daemon.world import World

FUTURE = "select not exists (select from cdc.queue where xid >= pg_snapshot_xmax({}))"


async def test_rows_with_ids_of_the_future_are_mended(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "MEND_BATCH_ROWS", 7)  # several turns
    hook = await world.hook()
    # Held, so that the rows can be seen after the start.
    paused = await world.hook(state="paused")
    writer = await world.writer()
    for _ in range(20):
        await writer.insert("candidate", project_id=1)
    await world.run("update cdc.queue set xid = (1000000 + id)::text::xid8")
    await world.run("alter table cdc.webhook disable trigger user")
    await world.run("update cdc.webhook set xid = '5000000'")
    await world.run("alter table cdc.webhook enable trigger user")
    async with Running(world.url) as daemon:
        await world.arrived(hook)
        assert await world.one(FUTURE.format("pg_current_snapshot()"))
        await world.until("select count(*) = 20 from cdc.queue")
        # Looks see them as new once at the most, not again and again.
        await daemon.until("doorbell", mode="sleeping")
        assert len(daemon.log.all("registration changed")) <= 2
        await writer.insert("candidate", project_id=1)
        await world.run("update cdc.webhook set state = 'active' where id = %s", paused.id)
        await world.arrived(hook, paused)
    assert world.repeats(hook) == 0


async def test_a_younger_server_goes_on_behind_the_rows(world: World) -> None:
    """Its log is behind the numbers that came with the dump, of the queue and of retries."""
    hook, held = await world.hook(), await world.hook(state="paused")
    writer = await world.writer()
    key = await writer.insert("candidate", project_id=1)
    for _ in range(5):
        await writer.change("candidate", key)
    await world.run("update cdc.queue set id = id + 10000000000000")
    highest = await world.one("select max(id) from cdc.queue")
    await world.run(adopt._RAISE)
    await writer.change("candidate", key)
    assert await world.one("select max(id) from cdc.queue") > highest
    async with Running(world.url):
        await world.arrived(hook)
        await world.run("update cdc.webhook set state = 'active' where id = %s", held.id)
        await world.arrived(held)


async def test_equal_ids_are_no_trouble(world: World) -> None:
    """After a crash of an asynchronous writer an id may come again: the uid identifies a row."""
    hook = await world.hook()
    writer = await world.writer()
    for _ in range(6):
        await writer.insert("candidate", project_id=1)
    await world.run("update cdc.queue set id = 3")
    async with Running(world.url, window=4):
        await world.arrived(hook)
        await world.settled()
    assert world.repeats(hook) == 0
