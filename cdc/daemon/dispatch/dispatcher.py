"""Keeps the lanes going: fills windows, starts attempts, follows registrations."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from cdc.daemon.dispatch.register import Registrar
from cdc.daemon.dispatch.workers import OPEN_BATCH_WORKERS, Workers
from cdc.daemon.lease import Lease
from cdc.daemon.pipeline import Pipeline
from cdc.daemon.store.batch import Found
from cdc.daemon.store.fetch import Fetcher
from cdc.daemon.store.fill import Filler
from cdc.daemon.store.look import Work
from cdc.daemon.store.records import Parked, Promote, Record, Settled, promotes
from cdc.daemon.store.session import Layouts, open_session
from cdc.daemon.worker import Worker
from cdc.lanes import Capacity
from cdc.model import Delivery, Span
from cdc.settings import Settings
from cdc.telemetry import Observer

UNSURE_POLL_S = 0.05  # how soon to ask again whether we may send
# Rows fetched at a time, twice as many where many webhooks want some: while more are to come, these
# are being sent.
FETCH_BATCH_ROWS = 2_000


class Dispatcher:
    """All workers of the shards owned; lives as long as a connection of the watcher.

    The settler reports to the newest one what is recorded.
    """

    def __init__(
        self, settings: Settings, pipeline: Pipeline, observer: Observer, lease: Lease
    ) -> None:
        self._settings = settings
        self._pipeline = pipeline
        self._lease = lease
        self._settler = pipeline.settler
        self._settler.listener = self
        self._capacity = Capacity(settings.total_window)
        self._behind: dict[Worker, None] = {}  # wait for recording to catch up, in order
        self._work = asyncio.Event()
        registrar = Registrar(settings, pipeline, observer, self._capacity)
        self._workers = Workers(registrar, self.pump, self._work.set)
        self.workers = self._workers.open
        self._hungry = self._workers.hungry
        self._defect: BaseException | None = None

    # -- reported by the look ---------------------------------------------------------------------

    def noticed(self, webhook_id: int, where: Span) -> None:
        """There are rows that were not there before."""
        self._workers.noticed(webhook_id, where)

    def came(self, deliveries: Iterable[Delivery]) -> None:
        """All rows that were not there before, in order of id: a look brought them along."""
        by_webhook: dict[int, list[Delivery]] = defaultdict(list)
        for delivery in deliveries:
            by_webhook[delivery.webhook_id].append(delivery)
        for webhook_id, rows in by_webhook.items():
            worker = self.workers.get(webhook_id)
            if worker is None or (park := worker.lane.came(rows)) is None:
                self.noticed(webhook_id, Span(rows[0].id, rows[-1].id))
            else:
                self._settler.park(worker.lane, park)
                self.pump(worker)

    def touched(self, webhook_ids: Iterable[int]) -> None:
        """Registrations changed (or something was replayed)."""
        self._workers.touched(webhook_ids)

    def arriving(self, shards: Iterable[int]) -> None:
        """Shards have become ours. What their webhooks have to do is going to be known in parts."""
        self._workers.arriving(shards)

    def arrived(self, part: Sequence[Work], *, last: bool) -> None:
        """The next part of these webhooks, in order: deliveries to them may begin."""
        self._workers.arrived(part, last=last)

    # -- asked by maintenance ---------------------------------------------------------------------

    def removed(self) -> list[int]:
        """Webhooks that were removed and may have left something in the queue."""
        return self._workers.removed()

    def dropped(self, webhook_id: int) -> None:
        """Nothing is left in the queue of a removed webhook."""
        self._workers.dropped(webhook_id)

    def missing(self, webhook_id: int, delivery_id: int, uid: str) -> bool:
        """Whether a waiting row is known to no lane of ours (for the sweep)."""
        return self._workers.missing(webhook_id, delivery_id, uid)

    def shards(self) -> list[int]:
        return self._lease.shards

    def epochs(self) -> Mapping[int, int]:
        """Of the shards that are ours."""
        return self._lease.epochs

    def succeeding(self) -> list[int]:
        """Webhooks in memory whose last attempt was a success."""
        return [number for number, worker in self.workers.items() if worker.succeeding]

    # -- the end ----------------------------------------------------------------------------------

    async def let_go(self, shards: Iterable[int] | None, grace: float) -> int:
        """Stops the workers of these shards (None: all). Returns how many attempts were given up:
        what does not end within ``grace`` seconds is cancelled; the next owner sends it again."""
        mine = self._workers.leave(shards)
        tasks = [task for worker in mine for task in worker.tasks]
        if tasks:
            await asyncio.wait(tasks, timeout=grace)
        left = [task for task in tasks if not task.done()]
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)
        for worker in mine:
            self._workers.forget(worker)
            self._behind.pop(worker, None)
        return len(left)

    @property
    def in_flight(self) -> int:
        return sum(len(worker.tasks) for worker in self.workers.values())

    # -- the fetch loop ---------------------------------------------------------------------------

    async def run(self, url: str, layouts: Layouts) -> None:
        """Fills windows until cancelled. Raises psycopg.OperationalError when it cannot."""
        conn = await open_session(url, "fetch")
        try:
            filler = Filler(Fetcher(conn, layouts), self._settler)
            while True:
                await self._work.wait()
                self._work.clear()
                if self._defect is not None:
                    raise self._defect
                await self._workers.open_some(conn)
                await self._fill(filler)
        finally:
            self._workers.stop()
            await conn.close()

    async def _fill(self, filler: Filler) -> None:
        hungry = {c for c in self._hungry if not c.closing and not c.removed}
        self._hungry.clear()
        if not hungry:
            return
        # Each may always have what it needs to go on; where there is room, for twice as long: what
        # comes only when the last of it has been sent comes too late.
        cap = self._settings.max_concurrency
        rows = min(self._capacity.left, max(FETCH_BATCH_ROWS, 2 * cap * len(hungry)))
        share = max(cap, rows // len(hungry))
        waiting, most = list(hungry), max(1, min(OPEN_BATCH_WORKERS, 2 * FETCH_BATCH_ROWS // share))
        for start in range(0, len(waiting), most):
            some = [c for c in waiting[start : start + most] if not c.closing and not c.removed]
            await self._pipeline.fetch(filler, [worker.lane for worker in some], share)
            for worker in some:
                self.pump(worker)

    # -- lanes ------------------------------------------------------------------------------------

    def pump(self, worker: Worker) -> None:
        """Starts what may be started, asks for more rows, sets the alarm for what comes later."""
        if worker.closing:
            return
        now = time.monotonic()
        lane = worker.lane
        if not self._lease.may_send():
            # The ping is late. Started attempts would be given up at once, and started again.
            self._again(worker, UNSURE_POLL_S)
            return
        if self._settler.behind(lane.webhook_id):
            self._behind[worker] = None
        else:
            self._begin(worker, lane.start(now))
        if lane.wants_fetch or _reached(lane.due_at(), now):
            self._hungry.add(worker)
            self._work.set()
        if lane.paused and not lane.in_flight:
            self._rest(worker)
        self._alarm(worker, now)
        self._workers.pumped(worker)

    def _begin(self, worker: Worker, started: Iterable[Delivery]) -> None:
        for delivery in started:
            task = asyncio.create_task(self._carry(worker, delivery))
            worker.tasks.add(task)
            task.add_done_callback(partial(self._ended, worker))

    async def _carry(self, worker: Worker, delivery: Delivery) -> None:
        """One attempt after the other, for as long as the end of one lets another begin: a task is
        expensive."""
        lane = worker.lane
        while True:
            await self._pipeline.attempt(worker, delivery)
            if worker.closing or not self._lease.may_send():
                return
            if self._settler.behind(lane.webhook_id):
                return  # its end pumps the worker
            started = lane.start(time.monotonic())
            if not started:
                return
            delivery = started[0]
            if len(started) > 1:
                self._begin(worker, started[1:])
            if lane.wants_fetch:
                self._hungry.add(worker)
                self._work.set()

    def recorded(self, records: Sequence[Record], found: Found) -> None:
        """Settled deliveries return to their lanes: windows have room, promoted retries are due;
        what waited for recording may go on."""
        for record in records:
            if isinstance(record, Settled | Parked):
                record.lane.settled(record.delivery)
        for record in records:
            self._promoted(record, found)
        # Each once: those that waited come first.
        workers, self._behind = self._behind, {}
        for lane in {record.lane for record in records}:
            worker = self.workers.get(lane.webhook_id)
            if worker is not None and worker.lane is lane:
                workers[worker] = None
        for worker in workers:
            self.pump(worker)

    def _promoted(self, record: Record, found: Found) -> None:
        """The lane learns which row of the resource is the next to be retried."""
        lane = record.lane
        if isinstance(record, Parked):
            if found.get((lane.webhook_id, *record.delivery.resource)):
                lane.noticed_due(time.monotonic())
            return
        resource = promotes(record)
        if resource and lane.promoted(resource, (lane.webhook_id, *resource) in found):
            self._settler.submit(Promote(lane, resource))

    def _ended(self, worker: Worker, task: asyncio.Task[None]) -> None:
        worker.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # A defect of ours: the lane would stand still silently, so the daemon goes down loudly.
            self._defect = error
            self._work.set()
            return
        lane = worker.lane
        if worker in self._behind and not lane.paused:
            return  # it is pumped when recording has caught up
        if lane.waiting or lane.paused or lane.wants_fetch:
            self.pump(worker)  # else there is nothing to do before it is recorded

    def _alarm(self, worker: Worker, now: float) -> None:
        times = [t for t in (worker.lane.wake_at(now), worker.lane.due_at()) if t is not None]
        self._again(worker, min(times) - now if times else 0.0)

    def _again(self, worker: Worker, delay: float) -> None:
        """Pumps the worker again after ``delay`` seconds; 0: no more."""
        if worker.timer is not None:
            worker.timer.cancel()
            worker.timer = None
        if delay > 0:
            worker.timer = asyncio.get_running_loop().call_later(delay, self.pump, worker)

    def _rest(self, worker: Worker) -> None:
        """Held and nothing in flight: notify the one that waits for it, and free the memory."""
        worker.lane.drop()
        if worker.acknowledged < worker.webhook.version:
            worker.acknowledged = worker.webhook.version
            self._pipeline.consequences.keep(worker)


def _reached(when: float | None, now: float) -> bool:
    return when is not None and when <= now
