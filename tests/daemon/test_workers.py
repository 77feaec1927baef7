"""Fewer workers than webhooks: they are opened for what there is to do, and closed for others."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest

from cdc.daemon.dispatch import workers
from cdc.daemon.dispatch.agenda import Agenda
from cdc.daemon.worker import Resting, Worker, open_worker
from cdc.lanes import Capacity, Lane, LaneRules, Rest
from cdc.message.signing import Sealer
from cdc.message.signing_keys import new_secret
from cdc.model import Span, Webhook, WebhookState
from cdc.sandbox.receiver import Script
from tests.daemon.running import LIMIT, Running, eventually, settings
from tests.daemon.world import World


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> int:
    """How many workers may be open."""
    monkeypatch.setattr(workers, "MAX_OPEN_WORKERS", 8)
    monkeypatch.setattr(workers, "OPEN_BATCH_WORKERS", 3)
    monkeypatch.setattr(workers, "CROWDED_POLL_S", 0.01)
    return 8


async def test_more_webhooks_than_open_workers_get_all_in_order(world: World, few: int) -> None:
    """Some fail at first, so that closed ones have something in the retry table and parked."""
    hooks = [await world.hook("candidate") for _ in range(5 * few)]
    for hook in hooks[::3]:
        world.receiver.script(hook.path, Script(fail_first=2))
    writer = await world.writer()
    keys = [await writer.insert("candidate", project_id=1) for _ in range(3)]
    async with Running(world.url, retry_schedule=[0.2, 0.2, 0.2, 0.2]) as daemon:
        watcher = daemon.app._watcher
        for _ in range(4):
            await writer.change("candidate", *keys)
            await asyncio.sleep(0)
        await world.arrived(*hooks)
        await world.settled()
        watcher = daemon.app._watcher
        assert watcher is not None
        assert len(watcher.dispatcher.workers) <= few
        await writer.change("candidate", *keys)
        await world.arrived(*hooks)
        assert daemon.observer.counts.swept == 0


async def test_what_comes_while_a_worker_is_opened_is_not_overtaken(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that came while the registration was loaded waited for the next round of opening, and
    a later change of it, which a look brought along, was sent before."""
    hook = await world.hook()
    writer = await world.writer()
    loads = [(asyncio.Event(), asyncio.Event()) for _ in range(2)]
    begun = iter(loads)
    load = workers.load  # type: ignore[attr-defined]  # as imported there

    async def waiting(*args: Any) -> Any:
        found = await load(*args)
        if (here := next(begun, None)) is not None:
            here[0].set()
            await here[1].wait()
        return found

    monkeypatch.setattr(workers, "load", waiting)
    (first, open_it), (second, go_on) = loads
    async with Running(world.url) as daemon, asyncio.timeout(LIMIT):
        await daemon.until("connected")
        await writer.insert("candidate", project_id=1)
        await first.wait()
        key = await writer.insert("candidate", project_id=1)
        late = (await world.all("select id, uid::text from cdc.queue order by id"))[-1]
        await eventually(lambda: daemon.knows(hook.id, *late), "the second row is known")
        open_it.set()
        await second.wait()
        await writer.change("candidate", key)
        await eventually(
            lambda: any(b"modified" in got.body for got in world.came[hook.path]), "it is sent"
        )
        go_on.set()
        await world.arrived(hook)


async def test_a_webhook_without_a_worker_follows_its_registration(world: World, few: int) -> None:
    hooks = [await world.hook("candidate") for _ in range(3 * few)]
    first = hooks[0]
    writer = await world.writer()
    async with Running(world.url) as daemon:
        await writer.insert("candidate", project_id=1)
        await world.arrived(*hooks)
        await world.settled()
        watcher = daemon.app._watcher
        assert watcher is not None
        for hook in hooks[1:]:  # others need the workers, whichever have one now
            await world.run("update cdc.webhook set description = 'x' where id = %s", hook.id)
        await eventually(lambda: first.id not in watcher.dispatcher.workers, "it has no worker")
        await world.run("update cdc.webhook set state = 'paused' where id = %s", first.id)
        await world.until(
            "select l.version = w.version from cdc.webhook w join cdc.lane l on l.webhook_id = w.id"
            " where w.id = %s",
            first.id,
        )
        await writer.insert("candidate", project_id=1)
        await world.arrived(*hooks[1:])
        assert len(world.came[first.path]) == 1
        await world.run("update cdc.webhook set state = 'active' where id = %s", first.id)
        await world.arrived(first)


async def test_a_breaker_stays_open_without_a_worker(world: World, few: int, down: str) -> None:
    """Otherwise each new row would be one more attempt at a receiver that is down."""
    hooks = [await world.hook("candidate") for _ in range(3 * few)]
    await world.run("update cdc.webhook set endpoint = %s", down)
    values = {"breaker_failures": 1, "breaker_first_probe": 60.0, "breaker_max_probe": 60.0}
    writer = await world.writer()
    async with Running(world.url, attempts=True, **values) as daemon:
        await daemon.until("connected")
        await writer.insert("candidate", project_id=1)
        await daemon.log.seen("attempt", times=len(hooks))
        for _ in range(2):
            await writer.insert("candidate", project_id=1)
        # The proof that all others had the time to.
        other = await world.hook("candidate")
        await writer.insert("candidate", project_id=1)
        await world.receiver.wait_for(lambda _: len(world.came[other.path]) == 1)
        assert len(daemon.log.all("attempt", error="refused")) == len(hooks)


def test_what_came_first_is_opened_first() -> None:
    agenda = Agenda()
    for webhook_id in (3, 1, 2):
        agenda.note(webhook_id, Span(webhook_id, 10))
    agenda.note(3, Span(11, 12))
    assert agenda.take(2) == {3: Span(3, 12), 1: Span(1, 10)}
    assert agenda.take(2) == {2: Span(2, 10)}
    assert not len(agenda)


def test_changed_registrations_do_not_keep_rows_waiting() -> None:
    agenda = Agenda()
    for webhook_id in range(1000):
        agenda.note(webhook_id, None)
    agenda.note(5000, Span(1))
    taken = agenda.take(8)
    assert taken[5000] == Span(1)
    assert len(taken) == 8
    agenda = Agenda()
    for webhook_id in range(1000):
        agenda.note(webhook_id, Span(1))
    agenda.note(5000, None)
    assert 5000 in agenda.take(8)


def test_a_webhook_waits_until_its_first_row_is_known() -> None:
    """A look may see new rows before the take-over has come to it: there may be older ones."""
    agenda = Agenda()
    agenda.arrive([1, 2])
    agenda.note(64 + 1, Span(7, 9))
    agenda.note(3, Span(5))  # of another shard
    assert agenda.take(10) == {3: Span(5)}
    assert agenda.knows(64 + 1, 2)
    agenda.reached(2)
    assert agenda.take(10) == {}
    agenda.reached(64 + 1)
    agenda.note(64 + 1, Span(4, 4))
    assert agenda.take(10) == {64 + 1: Span(4, 9)}
    agenda.note(64 + 2, None)
    assert agenda.take(10) == {}
    agenda.reached(None)
    assert agenda.take(10) == {64 + 2: None}


def test_closed_webhooks_wake_when_something_is_due() -> None:
    agenda = Agenda()
    for webhook_id, wake in ((1, 5.0), (2, 3.0), (3, None), (4, 9.0)):
        rest = Rest(Span(webhook_id) if webhook_id == 2 else None, wake, None)
        agenda.rest(webhook_id, Resting(rest, 1, 1, None, False, False))
    assert agenda.wake(1.0, 10) == 3.0
    assert not len(agenda)
    assert agenda.wake(6.0, 1) == 5.0
    assert agenda.take(5) == {2: Span(2)}
    assert agenda.rested(2) is not None
    assert agenda.wake(6.0, 10) == 9.0
    assert agenda.take(5) == {1: None}
    agenda.drop({4})
    assert agenda.wake(100.0, 10) is None
    assert agenda.rested(3) is not None


@pytest.mark.parametrize("known", ["noted", "logged_busy"])
def test_what_is_to_be_corrected_later_is_not_forgotten(known: str) -> None:
    """cdc.lane or the log says that it is failing: the first success takes that back."""
    webhook = Webhook(7, "1", "https://abc.com/", WebhookState.ACTIVE, 3, (new_secret(),))
    made = Worker(webhook, Lane(7, LaneRules(), Random(1)), Sealer(webhook))
    assert made.resting(1.0) is None
    setattr(made, known, True)
    resting = made.resting(1.0)
    assert resting is not None
    again = open_worker(webhook, resting, settings("dbname=x"), Random(1), Capacity())
    assert getattr(again, known) is True
