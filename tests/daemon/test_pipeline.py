"""From COMMIT to POST: everything that was committed, nothing else, once, and in order."""

from __future__ import annotations

import asyncio
import random

from tests.daemon.running import Running
from tests.daemon.world import Undo, World, Writer


async def test_what_many_writers_commit_arrives_once_and_in_order(world: World) -> None:
    hook = await world.hook()
    writers = [await world.writer() for _ in range(6)]
    rows = [await writers[0].insert("candidate", project_id=1) for _ in range(8)]

    async def write(writer: Writer, seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(25):
            async with writer.transaction():
                for key in sorted(chance.sample(rows, 2)):
                    await writer.change("candidate", key)
                async with writer.transaction():
                    await writer.insert("rating", candidate_id=chance.choice(rows), customer_id=1)
                    if chance.random() < 0.3:
                        raise Undo
                if chance.random() < 0.2:
                    raise Undo

    async with Running(world.url, window=50) as daemon:
        async with asyncio.TaskGroup() as tasks:
            for seed, writer in enumerate(writers):
                tasks.create_task(write(writer, seed))
        await world.arrived(hook)
        await world.settled()
        # The proof that nothing else is on its way: what is written last comes last.
        await writers[0].insert("project", company_id=1)
        await world.arrived(hook)
        assert daemon.observer.counts.swept == 0
    assert world.repeats(hook) == 0
    assert world.overlaps == 0
