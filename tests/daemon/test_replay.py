"""What is replayed is sent by a running daemon: same webhook-id, same bytes, in order, once."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

from cdc.sandbox.receiver import Received, Reply, Script
from cdc.webhooks.replay import Replay, ReplayFilter
from tests.daemon.running import Running, eventually
from tests.daemon.world import Hook, World


def replay(world: World, wanted: ReplayFilter, size: int = 1000, *, new_id: bool = False) -> int:
    with Replay(world.url) as capacity:
        return sum(done for _, done in capacity.run(capacity.find(wanted), size, new_id=new_id))


async def dead(world: World, hook: Hook, *, changes: int) -> str:
    """A candidate whose first changes have all died; returns its key."""
    world.receiver.script(hook.path, Script(reply=Reply(500)))
    writer = await world.writer()
    async with Running(world.url, retry_schedule=[], breaker_failures=1000):
        key = await writer.insert("candidate", project_id=1)
        for _ in range(changes - 1):
            await writer.change("candidate", key)
        await world.until("select count(*) = %s from cdc.dead", changes)
    world.receiver.script(hook.path, Script())
    return key


async def test_the_dead_are_sent_again_with_the_same_id_and_bytes(world: World) -> None:
    hook = await world.hook("candidate")
    await dead(world, hook, changes=3)
    first = [(got.uid, got.body) for got in world.came[hook.path]]
    async with Running(world.url, base_url="https://other.example/api/") as daemon:
        await daemon.until("connected")
        assert replay(world, ReplayFilter(webhook=hook.id)) == 3
        await world.receiver.wait_for(6)
        await world.settled()
        assert daemon.observer.counts.swept == 0
    assert [(got.uid, got.body) for got in world.came[hook.path][3:]] == first
    log = "select delivery, try, outcome from cdc.attempt order by delivery, try"
    assert [(t, o) for _, t, o in await world.all(log)] == [(1, "dead"), (2, "delivered")] * 3
    assert await world.one("select count(*) from cdc.dead") == 0
    world.check(hook)


async def test_what_was_delivered_is_replayed_in_order(world: World) -> None:
    hook = await world.hook("candidate")
    writer = await world.writer()
    async with Running(world.url) as daemon:
        keys = [await writer.insert("candidate", project_id=1) for _ in range(3)]
        for _ in range(4):
            await writer.change("candidate", *keys)
        await world.arrived(hook)
        await world.settled()
        first = {got.uid: got.body for got in world.came[hook.path]}
        world.came[hook.path].clear()
        # In batches that cut through the changes of a row.
        assert replay(world, ReplayFilter(webhook=hook.id, outcomes=("delivered",)), size=4) == 15
        await world.receiver.wait_for(lambda _: len(world.came[hook.path]) == 15)
        await world.settled()
        assert {got.uid: got.body for got in world.came[hook.path]} == first
        world.check(hook)
        assert world.overlaps == 0
        # The command twice, at once: what was sent after the first had begun is left alone.
        with Replay(world.url) as capacity:
            before = capacity.find(ReplayFilter(outcomes=("delivered",))).ended_before
        once = ReplayFilter(outcomes=("delivered",), ended_before=before)
        assert replay(world, once) == 15
        await world.settled()
        assert replay(world, once) == 0
        assert daemon.observer.counts.swept == 0


async def test_a_receiver_that_drops_known_ids_takes_new_ones(world: World) -> None:
    hook = await world.hook("candidate")
    await dead(world, hook, changes=2)
    writer = await world.writer()
    async with Running(world.url):
        await writer.insert("candidate", project_id=1)
        await world.receiver.wait_for(3)
        await world.settled()
        first = world.came[hook.path][:]
        world.came[hook.path].clear()
        both = ReplayFilter(outcomes=("dead", "delivered"))
        with Replay(world.url) as capacity:
            # Two people at once, and the same command again: each is sent once.
            found = [capacity.find(both), capacity.find(both)]
            assert [sum(n for _, n in capacity.run(one, new_id=True)) for one in found] == [3, 0]
        await world.receiver.wait_for(lambda _: len(world.came[hook.path]) == 3)
        await world.settled()
        before = replace(both, ended_before=found[0].ended_before)
        assert replay(world, before, new_id=True) == 0
        second = world.came[hook.path][:]
        assert sorted(got.body for got in second) == sorted(got.body for got in first)
        assert not {got.uid for got in second} & {got.uid for got in first}
        # The change is one change, whatever its ids are.
        assert replay(world, ReplayFilter(outcomes=("delivered",))) == 3
        await world.receiver.wait_for(lambda _: len(world.came[hook.path]) == 6)
        await world.settled()
        assert {got.uid for got in world.came[hook.path][3:]} == {got.uid for got in second}


async def test_a_replay_goes_before_what_came_later(world: World) -> None:
    """Its row is changed meanwhile: one request is in flight, the others wait for the replay."""
    hook = await world.hook("candidate")
    key = await dead(world, hook, changes=1)
    [lost] = world.came[hook.path]
    number = await world.one("select id from cdc.dead")
    world.came[hook.path].clear()
    replayed = asyncio.Event()

    async def answer(_: Received) -> int:
        await replayed.wait()
        return 200

    world.receiver.script(hook.path, Script(answer=answer))
    writer = await world.writer()
    async with Running(world.url) as daemon:
        await writer.change("candidate", key)
        await world.receiver.wait_for(lambda _: len(world.came[hook.path]) == 1)
        for _ in range(3):
            await writer.change("candidate", key)
        assert replay(world, ReplayFilter(uids=(lost.uid,))) == 1
        await eventually(
            lambda: daemon.holds(hook.id, number, lost.uid), "the replay is in the lane"
        )
        replayed.set()
        await world.receiver.wait_for(lambda _: len(world.came[hook.path]) == 5)
        await world.settled()
        assert daemon.observer.counts.swept == 0
    assert world.came[hook.path][1].uid == lost.uid
    assert world.overlaps == 0


async def test_a_paused_webhook_gets_it_when_it_is_resumed(world: World) -> None:
    hook = await world.hook("candidate")
    await dead(world, hook, changes=2)
    await world.run("update cdc.webhook set state = 'paused'")
    async with Running(world.url) as daemon:
        await daemon.until("connected")
        assert replay(world, ReplayFilter(webhook=hook.id)) == 2
        proof = await world.hook("project")
        writer = await world.writer()
        await writer.insert("project", company_id=1)
        await world.arrived(proof)
        assert len(world.came[hook.path]) == 2
        await world.run("update cdc.webhook set state = 'active' where id = %s", hook.id)
        await world.arrived(hook)
        await world.settled()


async def test_what_is_retried_is_due_at_once(world: World) -> None:
    hook = await world.hook("candidate")
    well = False

    def answer(_: Received) -> int:
        return 204 if well else 500

    world.receiver.script(hook.path, Script(answer=answer))
    writer = await world.writer()
    async with Running(world.url, retry_schedule=[1000], breaker_failures=1000):
        key = await writer.insert("candidate", project_id=1)
        await world.until("select exists (select from cdc.retry)")
        await writer.change("candidate", key)
        await world.until("select count(*) = 2 from cdc.retry")
        well = True
        assert replay(world, ReplayFilter(outcomes=("retrying",))) == 1
        await world.arrived(hook)
        await world.settled()


async def test_it_can_die_again(world: World) -> None:
    hook = await world.hook("candidate")
    await dead(world, hook, changes=1)
    world.receiver.script(hook.path, Script(reply=Reply(500)))
    async with Running(world.url, retry_schedule=[0.02]):
        assert replay(world, ReplayFilter(webhook=hook.id)) == 1
        await world.until("select exists (select from cdc.dead)")
    assert await world.all("select attempts, tries from cdc.dead") == [(2, 3)]
    log = "select try, outcome from cdc.attempt order by try"
    assert await world.all(log) == [(1, "dead"), (2, "failed"), (3, "dead")]


async def test_a_key_that_no_index_has_room_for_is_no_obstacle(world: World) -> None:
    """It expired before it was tried. Tried, it dies, and what is beside it is sent."""
    hook = await world.hook("candidate")
    await world.run(
        "insert into cdc.attempt (slot, at, delivery, xid, uid, webhook_id, layout, action, time,"
        " refs, try, outcome) select floor(extract(epoch from now()) / 86400)::int %% 32, now(), n,"
        " '1', gen_random_uuid(), %s, l.id, 'c', now(), array[null, '1', '1', key], 0, 'expired'"
        " from cdc.layout l, (values (1, '5'), (2, (select string_agg(md5(i::text), '')"
        " from generate_series(1, 100) i))) as v (n, key) where l.event = 'candidate_changed'",
        hook.id,
    )
    assert replay(world, ReplayFilter(webhook=hook.id, outcomes=("expired",))) == 2
    async with Running(world.url, retry_schedule=[0.02], breaker_failures=1000):
        await world.until("select last_error = 'mapping' from cdc.dead")
        await world.until("select not exists (select from cdc.retry)")
    [sent] = world.came[hook.path]
    assert json.loads(sent.body)["data"]["candidate"].endswith("candidates/5/")
