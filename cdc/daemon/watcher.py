"""The watcher: from connecting to the database to losing it. Owns shards, looks, and listens.

It holds nothing that outlives its connection: after a crash transaction ids are handed out again,
so the next one begins with a full look.
"""

from __future__ import annotations

import asyncio
import time

import psycopg

from cdc.daemon.backfills import Backfills
from cdc.daemon.dispatch import Dispatcher
from cdc.daemon.doorbell import Doorbell
from cdc.daemon.lease import Lease
from cdc.daemon.maintenance import Maintenance
from cdc.daemon.pipeline import Pipeline
from cdc.daemon.store.flags import Flags
from cdc.daemon.store.look import Looker, Seen, TakeOver
from cdc.daemon.store.ownership import Fleet, Ownership
from cdc.daemon.store.session import (
    ANSWER_WITHIN_S,
    Connection,
    Layouts,
    execute,
    open_session,
    run,
)
from cdc.daemon.store.wire import Wire
from cdc.daemon.trials import Trials
from cdc.postgres import advisory_locks
from cdc.telemetry import Observer

PING_EVERY_S = 0.5
# How often to see who owns what, at most: a shard without an owner is found within this time while
# there is work, else within the slow poll.
FLEET_EVERY_S = 0.25
ALONE_EVERY_S = 0.5  # where there is no other daemon, whose shards could be without an owner
HAND_OVER_GRACE_S = 1.0
LOST_GRACE_S = 1.0
IDLE_LOGGED_AFTER_S = 5.0  # without a shard the log says why
NEWS_BATCH_WEBHOOKS = 20_000  # dealt with before anything else may run
MEND_BATCH_ROWS = 10_000  # restored rows: each statement has to end in time


class Watcher:
    """Runs until the connection is lost or the task is cancelled; writes the lease."""

    def __init__(
        self,
        url: str,
        observer: Observer,
        pipeline: Pipeline,
        lease: Lease,
        dispatcher: Dispatcher,
        maintenance: Maintenance,
        backfills: Backfills,
        trials: Trials,
        *,
        use_bell: bool,
    ) -> None:
        self._url = url
        self._observer = observer
        self._pipeline = pipeline
        self._settler = pipeline.settler
        self._lease = lease
        self._maintenance = maintenance
        self._backfills = backfills
        self._trials = trials
        self._bell = Doorbell(usable=use_bell)
        self._rung = False
        self._woken = False  # by the server, out of a sleep
        self._owes = False  # a full look is owed, after a ring without rows
        self._many = False  # more rows came than a glance brings
        self._handing = False  # a hand-over is going on
        self._handed: list[int] = []  # it is ready: nothing is in flight in these shards any more
        self._wire: Wire | None = None
        self._looker: Looker | None = None
        self._ownership: Ownership | None = None
        self._flags: Flags | None = None
        self._count_every = FLEET_EVERY_S
        self._idle_since: float | None = None
        self._arrival: TakeOver | None = None  # shards taken over of which not all is known yet
        self._layouts = Layouts()
        self.dispatcher = dispatcher

    @property
    def bell_mode(self) -> str:
        return self._bell.mode.value

    async def run(self) -> None:
        """Raises OperationalError when the connection is lost, ProgrammingError when refused."""
        conn = await open_session(self._url, "watch", owning=True)
        try:
            await self._begin(conn)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.dispatcher.run(self._url, self._layouts))
                tasks.create_task(self._maintenance.run(self.dispatcher))
                tasks.create_task(self._backfills.run())
                tasks.create_task(self._trials.run())
                tasks.create_task(self._maintenance.mail())
                tasks.create_task(self._watch(conn, tasks))
        except BaseExceptionGroup as group:
            # Not except*: what is raised there comes out in a group of its own on some Pythons.
            refused, other = group.split((psycopg.OperationalError, psycopg.ProgrammingError))
            if refused is None or other is not None:
                raise
            raise _first(refused.subgroup(psycopg.OperationalError) or refused) from None
        finally:
            self._lease.lost()
            if self._wire is not None:
                self._wire.close()
            await self.dispatcher.let_go(None, LOST_GRACE_S)
            await conn.close()

    async def _begin(self, conn: Connection) -> None:
        conn.add_notify_handler(self._ring)
        await execute(conn, b"listen cdc", name="listen")
        while (await run(conn, "future_rows", [MEND_BATCH_ROWS]))[0][0]:
            pass
        await self._layouts.load(conn)
        self._wire = Wire(conn)
        self._looker = Looker(conn, self._lease, self._wire)
        await self._looker.begin()
        self._ownership = Ownership(conn, self._lease)
        await self._ownership.join()
        self._flags = Flags(conn)

    async def _watch(self, conn: Connection, tasks: asyncio.TaskGroup) -> None:
        looker, wire = self._looker, self._wire
        assert looker is not None
        assert wire is not None
        bell = self._bell
        counted = 0.0
        mode = bell.mode
        due = time.monotonic()
        while True:
            sent = time.monotonic()
            wire.rung = self._rung = False
            fleet = bool(self._handed) or sent - counted >= self._count_every
            seen = await self._look(looker, conn, fleet=fleet)
            self._observer.looked(time.monotonic() - due)
            await self._notice(seen, looker, conn)
            if bell.needs_xid():
                bell.guard(await looker.take_xid())
            if seen.fleet is not None:
                counted = sent
                alone = seen.fleet.daemons == 1
                self._count_every = ALONE_EVERY_S if alone else FLEET_EVERY_S
                await self._rebalance(seen.fleet, conn, tasks)
                await self._idle(seen.fleet, sent)
            if bell.mode is not mode:
                mode = bell.mode
                self._observer.bell(mode)
            if self._arrival is not None:
                await self._arrive(self._arrival)
            await self._show(sent)
            wait = bell.wait()
            due = time.monotonic()
            if self._arrival is not None:
                continue
            if not wait.listen:
                await asyncio.sleep(wait.seconds)
            elif wait.seconds and not (self._rung or wire.rung or self._handed):
                # The notification is read there, and the next look answers it. If that look read
                # it, it would count as a new one and cause another look.
                most = min(self._count_every, wait.seconds) if self._owes else wait.seconds
                self._woken = await wire.listen(most)
            due = min(due + wait.seconds, time.monotonic())

    async def _look(self, looker: Looker, conn: Connection, *, fleet: bool) -> Seen:
        """A glance where that will do, else a look; the doorbell learns what came of it."""
        bell = self._bell
        woken, self._woken = self._woken, False
        sent = time.monotonic()
        self._many = self._many and not fleet
        if not (fleet or self._many or self._arrival) and bell.may_glance(sent):
            glanced = await self._pipeline.glance(looker)
            self._many = glanced is None  # until the next look at the fleet
            if glanced is not None:
                found = bool(glanced.webhooks)
                took = time.monotonic() - sent
                xmin = glanced.snapshot.xmin
                bell.glanced(sent, found=glanced.transactions, xmin=xmin, took=took)
                # A ring may be for another reason than rows; mostly a glance was quicker than it.
                self._owes = self._owes or (woken and not found)
                if glanced.was_armed or not bell.relied_on:
                    return glanced
                await self._notice(glanced, looker, conn)  # the bell was silenced
            sent = time.monotonic()
        self._owes = False
        seen = await self._pipeline.look(looker, arm=bell.arms(sent), fleet=fleet)
        bell.looked(
            sent,
            found=seen.transactions,
            armed=seen.armed,
            was_armed=seen.was_armed,
            xmin=seen.snapshot.xmin,
            waiting=seen.waiting,
            took=time.monotonic() - sent,
        )
        return seen

    async def _notice(self, seen: Seen, looker: Looker, conn: Connection) -> None:
        """Lanes get what the look has brought, or learn where it lies."""
        if seen.rows is None:
            for count, (webhook_id, where) in enumerate(seen.news(), 1):
                if self._lease.owns(webhook_id):
                    self.dispatcher.noticed(webhook_id, where)
                if count % NEWS_BATCH_WEBHOOKS == 0:
                    # Each time everything else may run: with many deliveries that adds up.
                    await looker.ping()
        elif seen.rows:
            self.dispatcher.came(await self._layouts.deliveries(conn, seen.rows))
        if seen.touched:
            self.dispatcher.touched([w for w in seen.touched if self._lease.owns(w)])
            self._backfills.look_soon()
        if seen.unresolved:
            self._maintenance.resolve_soon()
        if seen.trials:
            self._trials.look_soon()

    # -- who owns what ----------------------------------------------------------------------------

    async def _rebalance(self, fleet: Fleet, conn: Connection, tasks: asyncio.TaskGroup) -> None:
        """Takes what has no owner, or hands over what is too much; one after the other."""
        ownership = self._ownership
        assert ownership is not None
        if self._handed:
            shards, self._handed, self._handing = self._handed, [], False
            await ownership.release(shards)
            self._observer.shards(0, len(shards), len(self._lease.shards))
        elif self._handing or self._arrival is not None:
            return
        elif surplus := ownership.surplus(fleet):
            self._handing = True
            tasks.create_task(self._hand_over(surplus))
        elif free := ownership.may_take(fleet):
            await self._take(free, fleet, conn)

    async def _idle(self, fleet: Fleet, now: float) -> None:
        """Logs now and then which session holds the shards, while this daemon has none."""
        ownership = self._ownership
        assert ownership is not None
        if self._lease.shards or self._arrival is not None:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = now
        elif now - self._idle_since >= IDLE_LOGGED_AFTER_S:
            self._idle_since = now
            self._observer.idle(*await ownership.why_idle(fleet))

    async def _show(self, now: float) -> None:
        """Compares the clocks, and shows what commands want to know of this daemon."""
        shown = self._flags
        assert shown is not None
        if now < shown.due:
            return
        offset = await shown.clock()
        self._observer.clock(offset, off=abs(offset) >= advisory_locks.CLOCK_OFF_S)
        file = self._observer.log_file
        await shown.show(offset, log_lost=file is not None and file.lost > 0)

    async def _hand_over(self, surplus: list[int]) -> None:
        """Ends what is in flight there. The looks go on meanwhile, and so do all other lanes."""
        await self.dispatcher.let_go(surplus, HAND_OVER_GRACE_S)
        # However long that takes: the looks go on, so they stay ours meanwhile.
        await self._settler.flushed()
        self._handed = surplus
        assert self._wire is not None
        self._wire.wake()

    async def _take(self, free: list[int], fleet: Fleet, conn: Connection) -> None:
        ownership, looker = self._ownership, self._looker
        assert ownership is not None
        assert looker is not None
        async with self._settler.still:
            taken, lost = await ownership.acquire(free, fleet)
            self._settler.forget(lost)
        if not taken:
            self._observer.shards_denied(ownership.denied(free))
            return
        # What was sent before a reconnection is recorded before it is looked at again.
        await self._flushed(looker)
        self.dispatcher.arriving(taken)
        self._arrival = TakeOver(taken)

    async def _arrive(self, arrival: TakeOver) -> None:
        """Finds out what the next webhooks of shards that were taken over have to do: some of them
        after each look, so that the looks go on, and all other shards."""
        looker = self._looker
        assert looker is not None
        began = time.monotonic()
        part = await looker.all(arrival.shards, arrival.after, arrival.size)
        if part is None:
            arrival.size = max(1, arrival.size // 8)
            return
        last = len(part) < arrival.size
        self.dispatcher.arrived(part, last=last)
        arrival.waiting += sum(work.lowest is not None for work in part)
        if not last:
            arrival.after = part[-1].webhook_id
            arrival.took(time.monotonic() - began)
            return
        self._arrival = None
        self._backfills.look_soon()
        self._observer.shards(len(arrival.shards), 0, len(self._lease.shards))
        self._observer.connected(len(self._lease.shards), arrival.waiting)

    async def _flushed(self, looker: Looker) -> None:
        """Waits until all that was submitted is recorded, and keeps the session meanwhile.

        Raises psycopg.OperationalError if that does not come about.
        """
        flushing = asyncio.ensure_future(self._settler.flushed())
        try:
            for _ in range(round((ANSWER_WITHIN_S - 1) / PING_EVERY_S)):
                if (await asyncio.wait({flushing}, timeout=PING_EVERY_S))[0]:
                    return
                await looker.ping()
        finally:
            flushing.cancel()
        raise psycopg.OperationalError("outcomes could not be recorded in time")

    def _ring(self, _: object) -> None:
        self._rung = True


def _first(group: BaseExceptionGroup[psycopg.Error]) -> psycopg.Error:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, psycopg.Error)
    return error
