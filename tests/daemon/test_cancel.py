"""What is cancelled is not sent any more, wherever its owner has it, and ends once."""

from __future__ import annotations

from cdc.sandbox.receiver import Reply, Script
from cdc.webhooks.replay import Replay
from tests.daemon.gate import Gate
from tests.daemon.running import Running
from tests.daemon.world import Hook, World


async def cancel(world: World, hook: Hook, number: int) -> int:
    uid = await world.one(
        "select uid::text from (select id, uid from cdc.queue union all select id, uid from"
        " cdc.retry union all select id, uid from cdc.dead) d where id = %s",
        number,
    )
    with Replay(world.url) as replay:
        return replay.cancel([(hook.id, number, uid)], "cancelled")


async def log(world: World, number: int) -> list[str]:
    return [
        outcome
        for (outcome,) in await world.all(
            "select outcome from cdc.attempt where delivery = %s order by at", number
        )
    ]


async def test_what_its_owner_has_in_memory_is_not_sent(world: World) -> None:
    """One request is in flight, two wait in the lane: of rows that were read from the queue."""
    hook = await world.hook("candidate", max_concurrency=1)
    gate = Gate(world, hook.path)
    writer = await world.writer()
    async with Running(world.url) as daemon:
        await daemon.until("connected")
        keys = [await writer.insert("candidate", project_id=1) for _ in range(4)]
        await world.receiver.wait_for(lambda _: len(world.came[hook.path]) == 1)
        ids = [row[0] for row in await world.all("select id from cdc.queue order by id")]
        assert len(ids) == 4
        version = await world.version(hook)
        # One that waits, and the one that is in flight: its answer comes too late.
        assert await cancel(world, hook, ids[1]) == 1
        assert await cancel(world, hook, ids[0]) == 1
        assert await world.version(hook) == version + 2
        await daemon.until("registration changed", webhook=hook.id, version=version + 2)
        gate.open()
        await world.receiver.wait_for(lambda _: len(world.came[hook.path]) == 3)
        await world.settled()
        # A later change of the row is sent.
        await writer.change("candidate", keys[0])
        await world.receiver.wait_for(lambda _: len(world.came[hook.path]) == 4)
        await world.settled()
        assert daemon.observer.counts.swept == 0
    sent = [got.uid for got in world.came[hook.path]]
    [(uid,)] = await world.all("select uid::text from cdc.attempt where delivery = %s", ids[1])
    assert uid not in sent
    assert [await log(world, number) for number in ids] == [
        ["dropped"],
        ["dropped"],
        ["delivered"],
        ["delivered"],
    ]
    assert await cancel_ended(world, hook, ids[2]) == 0


async def cancel_ended(world: World, hook: Hook, number: int) -> int:
    uid = await world.one("select uid::text from cdc.attempt where delivery = %s", number)
    with Replay(world.url) as replay:
        return replay.cancel([(hook.id, number, uid)], "cancelled")


async def test_what_was_parked_behind_it_is_sent_next(world: World) -> None:
    hook = await world.hook("candidate")
    world.receiver.script(hook.path, Script(reply=Reply(500)))
    writer = await world.writer()
    async with Running(world.url, retry_schedule=[3600.0], breaker_failures=1000) as daemon:
        await daemon.until("connected")
        key = await writer.insert("candidate", project_id=1)
        await world.until("select count(*) = 1 from cdc.retry where due_at is not null")
        for _ in range(3):
            await writer.change("candidate", key)
        await world.until("select count(*) = 3 from cdc.retry where due_at is null")
        first, *parked = [r[0] for r in await world.all("select id from cdc.retry order by id")]
        world.receiver.script(hook.path, Script())
        # One of those behind it, then the one they wait for.
        assert await cancel(world, hook, parked[1]) == 1
        assert await cancel(world, hook, first) == 1
        await world.receiver.wait_for(lambda _: len(world.came[hook.path]) == 3)
        await world.settled()
        await writer.change("candidate", key)
        await world.receiver.wait_for(lambda _: len(world.came[hook.path]) == 4)
        await world.settled()
    assert await log(world, first) == ["failed", "dropped"]
    assert await log(world, parked[1]) == ["dropped"]
    assert [await log(world, number) for number in (parked[0], parked[2])] == [["delivered"]] * 2
    noted = await world.all("select company, after->'uids' from cdc.audit order by id")
    assert [(company, len(uids)) for company, uids in noted] == [("1", 1), ("1", 1)]
