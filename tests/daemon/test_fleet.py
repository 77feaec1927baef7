"""Several daemons: shards are shared, handed over, taken over; order holds throughout."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence

import pytest

from cdc.daemon import watcher
from cdc.daemon.store.look import Looker, Seen
from cdc.deliver import Guard
from cdc.sandbox.receiver import Received, Reply, Script
from cdc.webhooks.model import Rules
from cdc.webhooks.registry import Registry
from tests.daemon.running import Process, Running, eventually
from tests.daemon.world import EVENTS, World, Writer


class Load:
    """Writers at work until stopped."""

    def __init__(self, world: World, rows: int = 4) -> None:
        self.world = world
        self.rows = rows
        self.rounds = 0

    async def __aenter__(self) -> Load:
        writer = await self.world.writer()
        keys = [await writer.insert("candidate", project_id=1) for _ in range(self.rows)]
        self._stop = asyncio.Event()
        self._task = asyncio.create_task(self._write(writer, keys))
        return self

    async def _write(self, writer: Writer, keys: list[str]) -> None:
        while not self._stop.is_set():
            await writer.change("candidate", *keys)
            self.rounds += 1
            await asyncio.sleep(0.05)

    async def more(self, rounds: int = 10) -> None:
        """Returns when so much more was written."""
        until = self.rounds + rounds
        await eventually(lambda: self.rounds >= until, "the writer goes on")

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await self._task


async def shared(*daemons: Running) -> None:
    """Waits until each daemon has its fair share of the 64 shards."""
    fair = -(-64 // len(daemons))
    await eventually(
        lambda: all(d.owned <= fair for d in daemons) and sum(d.owned for d in daemons) == 64,
        "the shards are shared",
    )


async def test_a_daemon_alone_looks_seldom_at_the_fleet(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    look = Looker.look

    async def counted(
        looker: Looker, *, arm: bool | None, fleet: bool = False, shards: Sequence[int] = ()
    ) -> Seen:
        nonlocal looks
        looks += fleet
        return await look(looker, arm=arm, fleet=fleet, shards=shards)

    monkeypatch.setattr(Looker, "look", counted)
    await world.hook()
    async with Running(world.url) as first, Load(world) as load:
        async with Running(world.url) as second:
            await shared(first, second)
            monkeypatch.setattr(watcher, "ALONE_EVERY_S", 3600.0)
            until = looks + 6
            await eventually(lambda: looks >= until, "each may have to take over from the other")
        await shared(first)
        alone = looks
        await load.more(20)
        assert looks == alone


async def test_one_who_joins_gets_half_and_one_who_leaves_gives_it_back(world: World) -> None:
    hooks = [await world.hook() for _ in range(8)]
    async with Running(world.url) as first:
        await shared(first)
        async with Load(world) as load:
            await load.more()
            async with Running(world.url) as second:
                await shared(first, second)
                await load.more()
                assert first.observer.counts.delivered > 0
                await second.until("connected")
                await eventually(lambda: second.observer.counts.delivered > 0, "the second sends")
            await shared(first)
            await load.more()
        await world.arrived(*hooks, limit=60)
        await world.settled()
        assert first.observer.counts.swept == 0
    # Handing over waits for what is in flight.
    assert sum(map(world.repeats, hooks)) == 0
    assert world.overlaps == 0


async def test_three_daemons_share(world: World) -> None:
    async with Running(world.url) as a, Running(world.url) as b, Running(world.url) as c:
        await shared(a, b, c)
        assert min(d.owned for d in (a, b, c)) == 20
        owners = await world.all("select count(*) from cdc.shard where owner <> ''")
        assert owners == [(64,)]


async def test_a_killed_daemon_is_taken_over(world: World) -> None:
    hooks = [await world.hook() for _ in range(8)]
    async with Running(world.url) as survivor:
        await shared(survivor)
        async with Load(world) as load:
            async with Process(world.url) as killed:
                await eventually(lambda: survivor.owned == 32, "half is handed over")
                await killed.until("connected")
                await load.more()
                killed.signal(signal.SIGKILL)
            await shared(survivor)
            await load.more()
        await world.arrived(*hooks, limit=60)
        await world.settled()
        assert survivor.observer.counts.swept == 0


async def test_a_daemon_that_stands_still_is_taken_over_and_sends_nothing_more(
    world: World,
) -> None:
    hooks = [await world.hook() for _ in range(8)]
    async with Running(world.url) as survivor:
        await shared(survivor)
        async with Process(world.url) as stopped:
            async with Load(world) as load:
                await eventually(lambda: survivor.owned == 32, "half is handed over")
                await stopped.until("connected")
                await load.more(20)
                stopped.signal(signal.SIGSTOP)
                await shared(survivor)
            await world.arrived(*hooks, limit=60)
            before = [len(world.came[hook.path]) for hook in hooks]
            stopped.signal(signal.SIGCONT)
            await stopped.until("connection lost")
            # It comes back as one of two, and goes on with what is new.
            await eventually(lambda: survivor.owned == 32, "half is handed over again")
            writer = await world.writer()
            await writer.insert("candidate", project_id=1)
            await world.arrived(*hooks)
            after = [len(world.came[hook.path]) for hook in hooks]
            # What was on its way when it was stopped may come again, under the same id.
            assert sum(after) - sum(before) - len(hooks) <= 4 * len(hooks)
        await world.settled()


async def test_a_pause_that_the_receiver_asked_for_outlives_the_daemon(world: World) -> None:
    """The next owner knows of it, and the other lanes do not wait."""
    busy, other = await world.hook(), await world.hook()
    busy_reply = Reply(429, headers={"Retry-After": "600"})
    world.receiver.script(busy.path, Script(reply=busy_reply))
    writer = await world.writer()
    async with Process(world.url) as killed:
        await killed.until("connected")
        await writer.insert("candidate", project_id=1)
        await world.until(
            "select slow_until > clock_timestamp() + interval '9 min' from cdc.lane"
            " where webhook_id = %s",
            busy.id,
        )
        await world.arrived(other)
        killed.signal(signal.SIGKILL)
    world.receiver.script(busy.path, Script())
    async with Running(world.url):
        await writer.insert("candidate", project_id=1)
        await world.arrived(other)
        await world.until("select count(*) = 1 from cdc.queue")
        assert len(world.came[busy.path]) == 1
        assert await world.one("select failing_since is not null from cdc.lane")
        # An operator says that it is well again.
        with Registry(world.url, Rules(EVENTS, Guard((), allow_http=True))) as registry:
            registry.resume(busy.id)
        await world.arrived(busy)
        await world.until(
            "select failing_since is null from cdc.lane where webhook_id = %s", busy.id
        )


async def test_handing_over_does_not_stop_the_other_lanes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a request of a lane that is handed over takes its time, looks go on."""
    monkeypatch.setattr(watcher, "HAND_OVER_GRACE_S", 10.0)
    answering = asyncio.Event()

    async def slowly(_: Received) -> int:
        await answering.wait()
        return 204

    hooks = [await world.hook() for _ in range(8)]
    for hook in hooks:
        world.receiver.script(hook.path, Script(answer=slowly))
    writer = await world.writer()
    async with Running(world.url) as first:
        await shared(first)
        key = await writer.insert("candidate", project_id=1)
        await eventually(lambda: first.in_flight == 8, "all are in flight")
        async with Running(world.url) as second:
            await eventually(lambda: first.handing_over, "the hand-over begins")
            looks = first.observer.counts.looks
            await eventually(lambda: first.observer.counts.looks > looks + 2, "it goes on looking")
            assert first.owned == 64, "the hand-over has not ended"
            answering.set()
            await shared(first, second)
            await writer.change("candidate", key)
            await world.arrived(*hooks)
    assert world.overlaps == 0
    assert sum(map(world.repeats, hooks)) == 0


async def test_slow_settling_delays_a_hand_over_and_costs_no_shard(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be recorded for a while is no reason to give up the shards that stay."""
    monkeypatch.setattr(
        watcher, "ANSWER_WITHIN_S", 1.0 + watcher.PING_EVERY_S
    )  # what a take-over waits
    hook = await world.hook()
    writer = await world.writer()
    async with Running(world.url) as first:
        await first.until("connected")
        assert first.app._watcher is not None
        async with first.app._watcher._settler.still:
            await writer.insert("candidate", project_id=1)
            await world.receiver.wait_for(1)
            async with Running(world.url) as second:
                await eventually(lambda: first.handing_over, "the hand-over begins")
                looks = first.observer.counts.looks
                await eventually(lambda: first.observer.counts.looks > looks + 2, "looks go on")
                assert first.owned == 64, "the hand-over has not ended"
                first.app._watcher._settler.still.release()
                await shared(first, second)
                await first.app._watcher._settler.still.acquire()
        await world.arrived(hook)
        assert not first.log.all("connection lost")


async def test_shards_go_back_and_forth(world: World) -> None:
    """Each time they are let go of for good, and taken over once."""
    async with Running(world.url) as first:
        await shared(first)
        for times in (1, 2):
            async with Running(world.url) as second:
                await shared(first, second)
            await shared(first)
            taken = 64 * (times + 1)
            assert await world.one("select sum(epoch)::int from cdc.shard") == taken


async def test_a_daemon_stops_during_a_hand_over(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "HAND_OVER_GRACE_S", 10.0)
    hooks = [await world.hook() for _ in range(8)]
    may_answer = asyncio.Event()

    async def slowly(_: Received) -> int:
        await may_answer.wait()
        return 204

    for hook in hooks:
        world.receiver.script(hook.path, Script(answer=slowly))
    writer = await world.writer()
    async with Running(world.url, stop_grace=10) as first:
        await shared(first)
        await writer.insert("candidate", project_id=1)
        await eventually(lambda: first.in_flight == 8, "all are in flight")
        async with Running(world.url) as second:
            await eventually(lambda: first.handing_over, "the hand-over begins")
            first.app.stop("the test")
            await first.until("stopping")
            may_answer.set()
            await first.end()
            await shared(second)
            await world.arrived(*hooks)
            await world.settled()
    assert sum(map(world.repeats, hooks)) == 0
