"""A shard changes its owner: what the owner before it may still send, and may still record.

The daemon under test connects through a proxy. Without its session "watch" it loses its shards;
without "settle" it cannot record, and keeps in memory what it has sent.
"""

from __future__ import annotations

import asyncio

import pytest

from cdc.daemon.store import deferred
from cdc.model import shard_of
from cdc.postgres.advisory_locks import LOCK_CLASS
from cdc.sandbox.receiver import Received, Script
from tests.daemon.running import Running, eventually
from tests.daemon.world import Hook, World
from tests.support.proxy import Proxy

GONE = 410
TAKEN = 204


class Answers:
    """A receiver that waits for the test before its first answer, and takes what comes later."""

    def __init__(self, world: World, hook: Hook, first: int) -> None:
        self.first = first
        self.may_answer = asyncio.Event()
        self.may_take = asyncio.Event()
        self.may_take.set()
        self._world, self._hook = world, hook
        world.receiver.script(hook.path, Script(answer=self._answer))

    async def _answer(self, _: Received) -> int:
        if len(self._world.came[self._hook.path]) > 1:
            await self.may_take.wait()
            return TAKEN
        await self.may_answer.wait()
        return self.first

    async def asked(self, times: int = 1) -> None:
        """Waits until so many requests are there."""
        path = self._hook.path
        await self._world.receiver.wait_for(lambda _: len(self._world.came[path]) >= times)


def disconnect(proxy: Proxy, *roles: str) -> None:
    """Cuts these sessions; they cannot come back before ``proxy.go_on()``."""
    for role in roles:
        proxy.refuse(role)
        proxy.cut(role)


async def epoch(world: World, hook: Hook, value: int) -> None:
    """Waits until the webhook's shard was taken over so often."""
    await world.until("select epoch >= %s from cdc.shard where id = %s", value, shard_of(hook.id))


async def state(world: World, hook: Hook) -> str:
    return str(await world.one("select state from cdc.webhook where id = %s", hook.id))


async def proof(world: World, hook: Hook) -> None:
    """Waits until a later change is delivered, or the webhook is suspended instead."""
    writer = await world.writer()
    await writer.insert("candidate", project_id=1)
    await world.until(
        "select not exists (select from cdc.queue where webhook_id = %s)"
        " or exists (select from cdc.webhook where id = %s and state = 'suspended')",
        hook.id,
        hook.id,
    )


async def test_what_was_not_recorded_is_recorded_by_the_same_owner_after_a_reconnection(
    world: World,
) -> None:
    """It is recorded before the queue is read again: the receiver gets nothing twice."""
    hook = await world.hook("candidate")
    writer = await world.writer()
    async with Proxy(world.url) as proxy, Running(proxy.url) as daemon:
        await daemon.until("connected")
        disconnect(proxy, "settle")
        await writer.insert("candidate", project_id=1)
        await world.arrived(hook)
        proxy.cut("watch")
        await epoch(world, hook, 2)
        proxy.go_on()
        await world.settled()
        await daemon.until("connected", times=2)
        assert world.repeats(hook) == 0
        assert not daemon.log.all("settlement refused, the shard has another owner")
    assert await world.one("select array_agg(outcome) from cdc.attempt") == ["delivered"]


async def test_what_was_sent_is_recorded_before_the_shards_are_taken_again(world: World) -> None:
    """Until another daemon raises the epoch, the last owner may record."""
    hook = await world.hook("candidate")
    writer = await world.writer()
    async with Proxy(world.url) as proxy, Running(proxy.url) as daemon:
        await daemon.until("connected")
        disconnect(proxy, "settle")
        await writer.insert("candidate", project_id=1)
        await world.arrived(hook)
        disconnect(proxy, "watch")
        await daemon.until("connection lost")
        proxy.go_on()
        proxy.refuse("watch")
        await world.settled()
        assert await world.one("select max(epoch) from cdc.shard") == 1
        proxy.go_on()
        await daemon.until("connected", times=2)
        assert world.repeats(hook) == 0


async def test_records_from_before_another_owner_are_forgotten(world: World) -> None:
    """A daemon gets a shard back that another one owned in between. What it has not recorded yet
    is from before that: a suspension, say, that a success of the other one has disproved."""
    hook = await world.hook("candidate")
    answers = Answers(world, hook, GONE)
    writer = await world.writer()
    async with Proxy(world.url) as proxy, Running(proxy.url) as first:
        await first.until("connected")
        await writer.insert("candidate", project_id=1)
        await answers.asked()
        proxy.refuse()
        proxy.cut()
        answers.may_answer.set()
        await first.until("webhook suspended")
        async with Running(world.url):
            await world.arrived(hook)
            await world.settled()
        proxy.go_on()
        proxy.refuse("settle")
        await epoch(world, hook, 3)
        proxy.go_on()
        await first.until("connected", times=2)
        await proof(world, hook)
        assert await state(world, hook) == "active"
        assert not first.log.all("settlement refused, the shard has another owner")
    assert await world.all("select distinct outcome from cdc.attempt") == [("delivered",)]


async def test_the_fence_is_drawn_for_each_shard(world: World) -> None:
    """Of one batch, what belongs to a shard that another daemon has taken over is refused, and the
    rest is recorded."""
    lost, kept = await world.hook("candidate"), await world.hook("candidate")
    both = [Answers(world, hook, GONE) for hook in (lost, kept)]
    writer = await world.writer()
    async with Proxy(world.url) as proxy, Running(proxy.url) as first:
        await first.until("connected")
        await writer.insert("candidate", project_id=1)
        for answers in both:
            await answers.asked()
        disconnect(proxy, "watch", "settle")
        for answers in both:
            answers.may_answer.set()
        await first.until("webhook suspended", times=2)
        # Held by the test: no daemon takes this one over.
        await world.run("select pg_advisory_lock(%s, %s)", LOCK_CLASS, shard_of(kept.id))
        async with Running(world.url) as second:
            await eventually(lambda: second.owned == 63, "the others are taken over")
            await world.receiver.wait_for(lambda _: bool(world.done[lost.path]))
            proxy.go_on()
            proxy.refuse("watch")
            await first.until("settlement refused, the shard has another owner")
            await world.until("select state = 'suspended' from cdc.webhook where id = %s", kept.id)
            assert not first.log.all("cannot be recorded, set aside")
            await proof(world, lost)
            assert await state(world, lost) == "active"
        await world.run("select pg_advisory_unlock_all()")
    fates = await world.all("select webhook_id, outcome from cdc.attempt")
    assert (kept.id, "failed") in fates
    assert (lost.id, "failed") not in fates


async def test_a_late_success_is_refused_as_well(world: World) -> None:
    """Successes are recorded by one statement, without a transaction around it. The next owner has
    the row in flight: it is the one to say what became of it."""
    lost, kept = await world.hook("candidate"), await world.hook("candidate")
    both = [Answers(world, hook, TAKEN) for hook in (lost, kept)]
    both[0].may_take.clear()
    writer = await world.writer()
    async with Proxy(world.url) as proxy, Running(proxy.url) as first:
        await first.until("connected")
        await writer.insert("candidate", project_id=1)
        for answers in both:
            await answers.asked()
        disconnect(proxy, "watch", "settle")
        for answers in both:
            answers.may_answer.set()
        await eventually(lambda: first.observer.counts.delivered == 2, "both have succeeded")
        await world.run("select pg_advisory_lock(%s, %s)", LOCK_CLASS, shard_of(kept.id))
        async with Running(world.url):
            await both[0].asked(2)
            proxy.go_on()
            proxy.refuse("watch")
            await first.until("settlement refused, the shard has another owner")
            await world.until(
                "select array_agg(webhook_id) = array[%s::bigint] from cdc.queue", lost.id
            )
            assert not first.log.all("cannot be recorded, set aside")
            both[0].may_take.set()
            await world.settled()
        await world.run("select pg_advisory_unlock_all()")


async def test_nothing_is_sent_once_the_shards_may_have_another_owner(world: World) -> None:
    """The daemon's looks get no answer, all else works. The server ends its session and with it
    its locks; before another daemon can take them, the last request has left."""
    hook = await world.hook("candidate", max_concurrency=1)
    world.receiver.script(hook.path, Script(delay=0.02))
    async with Proxy(world.url) as proxy, Running(proxy.url, window=2_000) as daemon:
        await daemon.until("connected")
        await world.run("insert into candidate (project_id) select 1 from generate_series(1, 2000)")
        await world.receiver.wait_for(5)
        proxy.stall("watch")
        other = await world.connect()
        await other.execute(b"select pg_advisory_lock(%s, %s)", [LOCK_CLASS, shard_of(hook.id)])
        sent = len(world.came[hook.path])
        # The next owner has it from here on. A request that is already in flight may still end.
        await daemon.until("connection lost")
        assert len(world.came[hook.path]) - sent <= 1
        assert sent < 2_000, "there was more to send"
        proxy.go_on()


async def test_what_is_set_aside_is_forgotten_when_another_owner_came(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that another session has locked is no reason to keep its shard. Where the shard comes
    back, within the same session, what was set aside is from before another owner."""
    monkeypatch.setattr(deferred, "RETRY_FIRST_S", 1000.0)
    _, hook = await world.hook("project"), await world.hook("candidate")
    may_answer = asyncio.Event()

    async def answer(_: Received) -> int:
        if len(world.came[hook.path]) > 2:
            await may_answer.wait()
        return TAKEN

    world.receiver.script(hook.path, Script(answer=answer))
    writer = await world.writer()
    await writer.insert("candidate", project_id=1)
    other = await world.connect()
    async with other.transaction(), Running(world.url) as first:
        await other.execute(b"select from cdc.queue for update")
        await first.until("cannot be recorded, set aside", webhook=hook.id)
        async with Running(world.url) as second:
            await second.until("cannot be recorded, set aside", webhook=hook.id)
        await eventually(lambda: first.owned == 64, "the shards are given back")
        await world.receiver.wait_for(lambda _: len(world.came[hook.path]) == 3)
        await other.execute(b"commit")
        may_answer.set()
        await world.settled(limit=10)
    assert await world.all("select outcome, try from cdc.attempt") == [("delivered", 1)]


async def test_after_a_reconnection_the_lanes_of_before_send_nothing_more(world: World) -> None:
    """What was in flight when the session ended is sent again, and nothing else twice."""
    hook = await world.hook("candidate", max_concurrency=1)
    answers = Answers(world, hook, TAKEN)
    answers.may_take.clear()
    writer = await world.writer()
    async with writer.transaction():
        for _ in range(20):
            await writer.insert("candidate", project_id=1)
    async with Proxy(world.url) as proxy, Running(proxy.url) as daemon:
        await answers.asked()
        proxy.cut("watch")
        await answers.asked(2)
        assert daemon.log.all("connection lost")
        answers.may_answer.set()
        answers.may_take.set()
        await world.arrived(hook)
        await world.settled()
    assert world.repeats(hook) == 1
