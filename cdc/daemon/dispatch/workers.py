"""Which webhooks have a worker: opened when there is something to do, closed when others need it.

Whatever concerns many webhooks at once (a take-over, a change of all registrations) is done in
parts, each of some milliseconds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from cdc.daemon.dispatch.agenda import Agenda
from cdc.daemon.dispatch.register import Registrar, again_in
from cdc.daemon.store.look import Work
from cdc.daemon.store.session import Connection
from cdc.daemon.worker import ActiveRegistration, Worker, load
from cdc.model import Span, shard_of

MAX_OPEN_WORKERS = 5_000
"""At most, some 4 KB each. Busy ones are bounded by it, too: a process has fewer sockets."""
OPEN_BATCH_WORKERS = 200
"""Webhooks that are dealt with before anything else may run: some 20 ms."""
CROWDED_POLL_S = 0.1
"""Seconds until it is tried again to open one, where as many are busy as may be open."""
WAKE_BATCH_WORKERS = 5_000


class Workers:
    """The workers of the shards owned.

    open:   by webhook.  hungry: those that have rows to read, or a retry that is due.
    pump:   starts what a worker may start.  wake: there is something to open or to read.
    """

    def __init__(
        self, registrar: Registrar, pump: Callable[[Worker], None], wake: Callable[[], None]
    ) -> None:
        self._registrar = registrar
        self._pump = pump
        self._wake = wake
        self.open: dict[int, Worker] = {}
        self.hungry: set[Worker] = set()
        self._agenda = Agenda()  # of webhooks without a worker
        self._touched: set[int] = set()
        self._resting: dict[Worker, None] = {}  # with nothing to do, the longest first
        self._strays: set[int] = set()  # removed, and something came since maintenance asked
        self._leaving: set[int] | None = set()  # shards handed over, or about to be; None: all
        self._next: asyncio.TimerHandle | None = None

    # -- what there is to do ----------------------------------------------------------------------

    def noticed(self, webhook_id: int, where: Span) -> None:
        """There are rows that were not there before."""
        worker = self.open.get(webhook_id)
        if worker is None:
            self._agenda.note(webhook_id, where)
        else:
            worker.lane.noticed(where)
            self.hungry.add(worker)
            if worker.removed:
                self._strays.add(webhook_id)
        self._wake()

    def touched(self, webhook_ids: Iterable[int]) -> None:
        """Registrations changed (or something was replayed)."""
        for webhook_id in webhook_ids:
            if webhook_id in self.open:
                self._touched.add(webhook_id)
            else:
                self._agenda.note(webhook_id, None)
        self._wake()

    def missing(self, webhook_id: int, delivery_id: int, uid: str) -> bool:
        """Whether a waiting row is known to no lane of ours (for the sweep)."""
        worker = self.open.get(webhook_id)
        if worker is None:
            return not self._agenda.knows(webhook_id, delivery_id)
        return not (worker.removed or worker.lane.knows(delivery_id, uid))

    def removed(self) -> list[int]:
        """Webhooks that were removed and may have left something in the queue."""
        self._strays.clear()
        return [c.webhook.id for c in self.open.values() if c.removed and not c.tasks]

    def dropped(self, webhook_id: int) -> None:
        """Nothing is left in the queue of a removed webhook."""
        worker = self.open.get(webhook_id)
        if worker is not None and worker.removed and webhook_id not in self._strays:
            self.forget(worker)

    # -- shards come and go -----------------------------------------------------------------------

    def arriving(self, shards: Iterable[int]) -> None:
        """Shards have become ours. What their webhooks have to do is going to be known in parts."""
        if self._leaving is not None:
            self._leaving.difference_update(shards)
        self._agenda.arrive(shards)

    def arrived(self, part: Sequence[Work], *, last: bool) -> None:
        """The next part of these webhooks, in order: deliveries to them may begin."""
        self._agenda.reached(None if last else part[-1].webhook_id)
        for work in part:
            if work.lowest is not None:
                self._agenda.note(work.webhook_id, Span(work.lowest))
            elif work.more:
                self._agenda.note(work.webhook_id, None)
        self._wake()

    def leave(self, shards: Iterable[int] | None) -> list[Worker]:
        """Shards are handed over (None: all): nothing is opened there any more. Returns their
        workers, closed, but not forgotten yet."""
        which = None if shards is None else set(shards)
        # A registration that is being loaded just now must not open a worker there any more.
        self._leaving = None if which is None or self._leaving is None else self._leaving | which
        self._agenda.drop(which)
        mine = [
            worker
            for worker in self.open.values()
            if which is None or shard_of(worker.webhook.id) in which
        ]
        for worker in mine:
            worker.close()
        return mine

    # -- opening and closing ----------------------------------------------------------------------

    async def open_some(self, conn: Connection) -> None:
        """Opens workers for those that have something to do, and applies changed registrations: a
        part of them; what is left wakes again."""
        now = time.monotonic()
        due = self._agenda.wake(now, WAKE_BATCH_WORKERS)
        self._make_room(now)
        todo = self._agenda.take(max(0, min(OPEN_BATCH_WORKERS, MAX_OPEN_WORKERS - len(self.open))))
        touched = set(islice(self._touched, OPEN_BATCH_WORKERS))
        self._touched -= touched
        if todo or touched:
            for registration in await load(conn, touched | todo.keys(), todo):
                self.register(registration)
        now = time.monotonic()
        for webhook_id in touched:
            if (worker := self.open.get(webhook_id)) is not None:
                worker.lane.noticed_due(now)
                self.hungry.add(worker)
        for webhook_id, where in todo.items():
            if where is not None and webhook_id in self.open:
                self.noticed(webhook_id, where)
        crowded = len(self._agenda) > 0 and not todo
        if self._touched or (self._agenda and not crowded):
            self._wake()
        self._wake_at(now + CROWDED_POLL_S if crowded else due)

    def register(self, registration: ActiveRegistration) -> None:
        """Makes the webhook's worker what its registration says; opens one if it has none."""
        webhook = registration.webhook
        if self._leaving is None or shard_of(webhook.id) in self._leaving:
            return
        worker = self.open.get(webhook.id)
        if worker is None:
            resting = self._agenda.rested(webhook.id)
            worker = self._registrar.open(registration, resting)
            self.open[webhook.id] = worker
            if resting is not None and resting.lane.unread is not None:
                worker.lane.noticed(resting.lane.unread)
            # What came while its registration was loaded lies before all that comes from now on.
            noted, where = self._agenda.claim(webhook.id)
            if where is not None:
                worker.lane.noticed(where)
            if noted:
                self._touched.add(webhook.id)  # this may have been a change of the registration
        else:
            self._registrar.change(worker, registration)
        if worker.reload is not None:
            worker.reload.cancel()
            worker.reload = None
        if (again := again_in(worker, registration)) is not None:
            later = asyncio.get_running_loop().call_later
            worker.reload = later(again + 0.1, self.touched, [webhook.id])
        self.hungry.add(worker)
        self._pump(worker)

    def pumped(self, worker: Worker) -> None:
        """What the worker could start was started."""
        self._resting.pop(worker, None)
        if _rests(worker, time.monotonic()):
            self._resting[worker] = None

    def _make_room(self, now: float) -> None:
        """Closes as many workers as are needed for others, those that rest the longest."""
        surplus = len(self.open) + min(OPEN_BATCH_WORKERS, len(self._agenda)) - MAX_OPEN_WORKERS
        for worker in list(islice(self._resting, max(0, surplus))):
            del self._resting[worker]
            if worker not in self.hungry and _rests(worker, now):
                resting = worker.resting(now)
                self.forget(worker)
                if resting is not None:
                    self._agenda.rest(worker.webhook.id, resting)

    def forget(self, worker: Worker) -> None:
        """Closes it; what it holds is not ours any more."""
        worker.close()
        worker.lane.leave()
        self.open.pop(worker.webhook.id, None)
        self.hungry.discard(worker)
        self._resting.pop(worker, None)

    def _wake_at(self, when: float | None) -> None:
        if self._next is not None:
            self._next.cancel()
            self._next = None
        if when is not None:
            later = asyncio.get_running_loop().call_later
            self._next = later(max(0.0, when - time.monotonic()), self._wake)

    def stop(self) -> None:
        """Wakes no more."""
        self._wake_at(None)


def _rests(worker: Worker, now: float) -> bool:
    return not worker.tasks and worker.may_rest and worker.lane.rests(now)
