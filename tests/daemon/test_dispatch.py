"""Lanes kept going: what holds when a ping is late, a shard leaves, or we have made a mistake."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from cdc.daemon import lease as leases
from cdc.daemon.dispatch import Dispatcher
from cdc.daemon.lease import Lease, Snapshot
from cdc.daemon.pipeline import Pipeline
from cdc.daemon.store.fetch import FetchedWindow, Fetcher
from cdc.daemon.store.recorder import Recorder
from cdc.daemon.store.records import Record
from cdc.daemon.store.settle import Settler
from cdc.daemon.worker import ActiveRegistration, Worker
from cdc.deliver import Client, Guard
from cdc.lanes import FetchPlan
from cdc.message.payload import Translator
from cdc.message.signing_keys import new_secret
from cdc.model import Delivery, Span, Webhook, WebhookState
from cdc.sandbox.receiver import Received, Script
from cdc.settings import Settings
from cdc.telemetry import Observer
from tests.daemon.running import Log, Running, eventually
from tests.daemon.world import World


async def test_a_late_ping_stops_the_sending_without_a_busy_loop(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = await world.hook()
    writer = await world.writer()
    started = 0
    attempt = Pipeline.attempt

    async def counted(self: Pipeline, worker: Worker, delivery: Delivery) -> None:
        nonlocal started
        started += 1
        await attempt(self, worker, delivery)

    monkeypatch.setattr(Pipeline, "attempt", counted)
    async with Running(world.url) as daemon:
        key = await writer.insert("candidate", project_id=1)
        await world.arrived(hook)
        monkeypatch.setattr(leases, "SEND_WITHIN_S", -1.0)
        await writer.change("candidate", key)
        looks = daemon.observer.counts.looks
        # The doorbell has rung, and the slow poll has looked again.
        await world.until("select count(*) = 1 from cdc.queue")
        await eventually(lambda: daemon.observer.counts.looks >= looks + 3, "it goes on looking")
        assert started == 1
        monkeypatch.setattr(leases, "SEND_WITHIN_S", 2.0)
        await world.arrived(hook)
        assert started == 2


async def test_no_fetch_reads_for_all_webhooks_there_are(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows take memory, and the lane they were read for sends meanwhile."""
    monkeypatch.setattr("cdc.daemon.dispatch.dispatcher.FETCH_BATCH_ROWS", 20)
    hooks = [await world.hook("candidate") for _ in range(7)]
    writer = await world.writer()
    asked: list[int] = []
    fetch = Fetcher.fetch

    async def counted(
        self: Fetcher, plans: Mapping[int, FetchPlan], snapshot: Snapshot
    ) -> dict[int, FetchedWindow]:
        asked.append(sum(plan.limit for plan in plans.values()))
        return await fetch(self, plans, snapshot)

    monkeypatch.setattr(Fetcher, "fetch", counted)
    for _ in range(15):
        await writer.insert("candidate", project_id=1)
    async with Running(world.url):
        await world.arrived(*hooks)
        await world.settled()
    assert len(asked) >= 4
    assert max(asked) <= 40


async def test_who_gets_no_socket_has_not_failed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others hold all of them by answering late: no attempt is used, and the log says so."""
    monkeypatch.setattr("cdc.deliver.pool._allowed", lambda: 1)
    late, other = await world.hook("candidate"), await world.hook("rating")
    may_answer = asyncio.Event()

    async def answers_late(got: Received) -> int:
        await may_answer.wait()
        return 200

    world.receiver.script(late.path, Script(answer=answers_late))
    writer = await world.writer()
    async with Running(world.url, attempts=True, connect_timeout=0.2) as daemon:
        key = await writer.insert("candidate", project_id=1)
        await world.receiver.wait_for(lambda received: len(received) == 1)
        await writer.insert("rating", candidate_id=int(key), customer_id=1)
        logged = await daemon.log.seen("all sockets are in use, deliveries wait for one", times=8)
        assert logged.level == "warning"
        assert daemon.log.all("attempt") == []
        assert daemon.log.all("circuit breaker opened") == []
        may_answer.set()
        await world.arrived(late, other)
    assert world.repeats(other) == 0


async def test_a_webhook_waits_once_for_what_is_not_recorded(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was looked through for more to send at the end of each of its attempts, and twice when
    recording had caught up: with 2,000 slow requests in flight once a delivery, all in vain."""
    in_flight, rows = 40, 200
    hook = await world.hook("candidate", max_concurrency=in_flight)
    writer = await world.writer()
    for _ in range(rows):
        await writer.insert("candidate", project_id=1)
    looked_through: Counter[str] = Counter()
    may_record = asyncio.Event()
    pump, record = Dispatcher.pump, Recorder.record

    def pumped(self: Dispatcher, worker: Worker) -> None:
        looked_through["behind" if worker in self._behind else "free"] += 1
        pump(self, worker)

    async def held(self: Recorder, records: list[Record]) -> None:
        await may_record.wait()
        await record(self, records)

    monkeypatch.setattr(Dispatcher, "pump", pumped)
    monkeypatch.setattr(Recorder, "record", held)
    async with Running(world.url, unrecorded_limit=10) as daemon:
        await daemon.until("connected")
        settler, watcher = daemon.app._settler, daemon.app._watcher
        assert settler is not None
        assert watcher is not None
        await eventually(
            lambda: settler.unrecorded >= 10 and not watcher.dispatcher.in_flight,
            "all that was started has ended",
        )
        assert looked_through["behind"] == 0
        may_record.set()
        await world.arrived(hook)
        await world.settled()
    assert looked_through["behind"] == 0


async def test_a_mistake_of_ours_ends_the_daemon_loudly(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.hook()
    writer = await world.writer()

    def broken(*_: Any) -> bytes:
        raise ZeroDivisionError("an unforeseen error")

    monkeypatch.setattr(Translator, "body", broken)
    daemon = Running(world.url)
    daemon.begin()
    await daemon.until("connected")
    await writer.insert("candidate", project_id=1)
    # Nothing is worse than a lane that stands still and says nothing.
    with pytest.raises(BaseExceptionGroup) as raised:
        await daemon.end()
    assert raised.group_contains(ZeroDivisionError)
    assert await world.one("select count(*) from cdc.queue") == 1


async def test_a_shard_that_leaves_opens_no_worker_any_more() -> None:
    """A registration may be on its way from the database while its shard is handed over."""
    shards = [3, 4]
    observer = Observer(log=Log())
    lease = Lease()
    lease.took(dict.fromkeys(shards, 1))
    settler = Settler("", observer, lease)
    # no other part of it is reached here
    pipeline = Pipeline(None, Client(Guard()), settler, observer, lease, None)  # type: ignore[arg-type]
    settings = Settings(database_url="dbname=x")
    dispatcher = Dispatcher(settings, pipeline, observer, lease)

    def loaded(number: int) -> ActiveRegistration:
        state = WebhookState.ACTIVE
        return ActiveRegistration(
            Webhook(number, "1", "https://abc.com/", state, 1, (new_secret(),)), None
        )

    workers = dispatcher._workers
    workers.register(loaded(3))
    workers.register(loaded(4))
    await dispatcher.let_go([3], 0.0)
    workers.register(loaded(3))
    workers.register(loaded(4 + 64))
    assert dispatcher.workers.keys() == {4, 68}
    # For the sweep: a row of a lane that is not here is known to no lane, either.
    assert dispatcher.missing(3, 1, "uid")
    assert dispatcher.missing(4, 1, "uid")
    dispatcher.noticed(4, Span(1))
    assert not dispatcher.missing(4, 1, "uid")
    # It comes back one day.
    dispatcher.arriving([3])
    workers.register(loaded(3))
    assert dispatcher.workers.keys() == {3, 4, 68}
    await dispatcher.let_go(None, 0.0)
    workers.register(loaded(4))
    assert dispatcher.workers == {}
