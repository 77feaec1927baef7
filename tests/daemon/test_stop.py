"""Stopping: what is in flight may end, what hangs is left to the next daemon."""

from __future__ import annotations

import signal
import time

import pytest

from cdc import stop_signals
from tests.daemon.gate import Gate
from tests.daemon.running import Process, Running, eventually
from tests.daemon.world import World
from tests.support.proxy import Proxy


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_signal_lets_what_is_in_flight_end(world: World, number: signal.Signals) -> None:
    hook = await world.hook()
    gate = Gate(world, hook.path)
    writer = await world.writer()
    async with Process(world.url, stop_grace=10) as daemon:
        await daemon.until("connected")
        key = await writer.insert("candidate", project_id=1)
        await gate.reached()
        await writer.change("candidate", key)  # is not started any more
        daemon.signal(number)
        await daemon.until("stopping", in_flight=1)
        gate.open()
        assert await daemon.ended() == 0, daemon.other
        assert daemon.other == []
        assert daemon.log.lines[-1].event == "stopped"
    assert len(world.came[hook.path]) == 1
    assert await world.all("select outcome from cdc.attempt") == [("delivered",)]
    assert await world.one("select count(*) from cdc.queue") == 1
    async with Running(world.url):
        await world.arrived(hook)
    assert world.repeats(hook) == 0


async def test_what_hangs_longer_is_sent_again_under_the_same_id(world: World) -> None:
    hook = await world.hook()
    gate = Gate(world, hook.path)
    writer = await world.writer()
    async with Running(world.url, stop_grace=0.1) as daemon:
        await writer.insert("candidate", project_id=1)
        await gate.reached()
        await daemon.stop()
        assert daemon.log.lines[-1].values["abandoned"] == 1
    assert await world.one("select count(*) from cdc.attempt") == 0
    gate.open()
    async with Running(world.url):
        await world.receiver.wait_for(2)
        await world.settled()
    world.check(hook)
    assert world.repeats(hook) == 1


async def test_a_killed_daemon_loses_nothing(world: World) -> None:
    hook = await world.hook()
    writer = await world.writer()
    keys = [await writer.insert("candidate", project_id=1) for _ in range(20)]
    for _ in range(3):
        async with Process(world.url, window=20) as daemon:
            came = len(world.came[hook.path])
            for _ in range(10):
                await writer.change("candidate", *keys)
            await world.receiver.wait_for(
                # mypy cannot infer a lambda with a default
                lambda _, n=came: len(world.came[hook.path]) >= n + 60  # type: ignore[misc]
            )
            daemon.signal(signal.SIGKILL)
            assert await daemon.ended() == -signal.SIGKILL
    async with Running(world.url):
        await world.arrived(hook)
        await world.settled()


async def test_it_stops_while_the_database_is_away(world: World) -> None:
    hook = await world.hook()
    gate = Gate(world, hook.path)
    writer = await world.writer()
    async with Proxy(world.url) as proxy, Running(proxy.url) as daemon:
        await writer.insert("candidate", project_id=1)
        await gate.reached()
        proxy.refuse()
        proxy.cut()
        await daemon.until("connection lost")
        gate.open()
        await daemon.stop()
    # Its arrival was not recorded.
    async with Running(world.url):
        await world.settled()
    assert world.repeats(hook) == 1


async def test_it_stops_while_the_database_does_not_answer(world: World) -> None:
    async with Proxy(world.url) as proxy, Running(proxy.url, stop_grace=0) as daemon:
        await daemon.until("connected")
        proxy.stall()
        await daemon.stop(limit=25)


async def test_a_connection_lost_while_stopping_costs_nothing(world: World) -> None:
    hook = await world.hook("candidate")
    gate = Gate(world, hook.path)
    writer = await world.writer()
    async with Proxy(world.url) as proxy, Running(proxy.url) as daemon:
        keys = [await writer.insert("candidate", project_id=1) for _ in range(2)]
        await world.receiver.wait_for(lambda got: len(got) == 2)
        await writer.change("candidate", *keys)
        daemon.app.stop("the test")
        await daemon.until("stopping", in_flight=2)
        proxy.cut("watch")
        await eventually(lambda: "watch" not in proxy.roles, "the connection is cut")
        gate.open()
        await daemon.end()
        assert len(daemon.log.all("connected")) == 1
    assert len(world.came[hook.path]) == 2
    async with Running(world.url):
        await world.arrived(hook)
    # The end of the first two was recorded by the one who had sent them.
    assert world.repeats(hook) == 0


async def test_a_second_stop_changes_nothing_and_it_is_quick(world: World) -> None:
    began = time.monotonic()
    async with Running(world.url, stop_grace=60) as daemon:
        await daemon.until("connected")
        daemon.app.stop("one")
        daemon.app.stop("two")
        await daemon.end()
        assert (await daemon.log.seen("stopping")).values["reason"] == "one"
    assert time.monotonic() - began < 10


def test_nohup_is_respected() -> None:
    """What was started to outlive its terminal does not end with it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert stop_signals._signals() == [signal.SIGTERM, signal.SIGINT]
    finally:
        signal.signal(signal.SIGHUP, before)
    assert signal.SIGHUP in stop_signals._signals()
