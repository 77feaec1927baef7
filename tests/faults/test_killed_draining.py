"""A daemon that is killed while it drains a full queue leaves little to be sent again."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from tests.bench.target import Target
from tests.daemon.running import LIMIT, Process, eventually
from tests.daemon.world import World
from tests.support import installation

HOOKS = 50

FILL = """
insert into cdc.queue (webhook_id, layout, action, time, refs)
select w.id, l.id, 'm', now(), array[null, '1', '1', n::text]
  from cdc.layout l, cdc.webhook w, generate_series(1, %s) n
 where l.event = 'candidate_changed'
 order by n, w.id
"""


@pytest.fixture
async def world(database: str) -> AsyncIterator[World]:
    installation.adopt(database)
    async with World(database) as made:
        yield made


def _came(target: Target, count: int) -> bool:
    return target.count() >= count


@pytest.mark.parametrize(("limit", "queued", "at_once"), [(500, 20_000, 10), (20, 5_000, 1)])
async def test_a_daemon_that_is_killed_while_it_drains_repeats_little(
    world: World, tmp_path: Path, limit: int, queued: int, at_once: int
) -> None:

    with Target(tmp_path) as target:
        for _ in range(HOOKS):
            hook = await world.hook("candidate", max_concurrency=at_once)
            await world.run(
                "update cdc.webhook set endpoint = %s where id = %s", target.url(hook.id), hook.id
            )
        await world.run(FILL, queued // HOOKS)
        async with Process(world.url, unrecorded_limit=limit) as daemon:
            await eventually(partial(_came, target, queued // 2), "it drains")
            daemon.signal(signal.SIGKILL)
            await daemon.ended()
        async with Process(world.url):
            await world.settled(LIMIT)
        receipts = await asyncio.to_thread(target.receipts)
    different = len({receipt.uid for receipt in receipts})
    assert different == queued
    repeated = len(receipts) - different
    assert repeated <= limit + HOOKS * at_once, repeated
