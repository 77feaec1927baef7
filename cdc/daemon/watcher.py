"""One tenure: from connecting to the database to losing it. Owns shards, looks, and listens.

A tenure holds nothing that outlives its connection: after a crash transaction ids are handed out
again, so the next one begins with a full look.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import psycopg

from cdc.daemon.dispatch import Dispatcher
from cdc.daemon.doorbell import Doorbell
from cdc.daemon.maintenance import Maintenance
from cdc.daemon.store.look import Looker, Seen, Snapshot
from cdc.daemon.store.notices import Notices
from cdc.daemon.store.ownership import Fleet, Ownership
from cdc.daemon.store.session import (
    ANSWER_WITHIN,
    OWNED_FOR,
    Connection,
    Layouts,
    boottime,
    execute,
    open_session,
    run,
)
from cdc.daemon.store.settle import Settler
from cdc.postgres import advisory_locks
from cdc.telemetry import Observer

# Without an answered look this recent nothing is sent: the session's idle timeout might have let
# somebody else take over. Less a margin for the request to leave.
PING_WITHIN = OWNED_FOR - 1.0
PING_EVERY = 0.5
# How often to see who owns what, at most: a shard that is nobody's is found within this time while
# there is work, else within the slow poll.
FLEET_EVERY = 0.25
HAND_OVER_GRACE = 1.0
LOST_GRACE = 1.0
IDLE_FOR = 5.0  # seconds without a shard after which the log says why
PART_TAKES = 0.1  # seconds of one step of a take-over
NEWS_AT_ONCE = 20_000  # webhooks with news that are dealt with before anything else may run
AT_ONCE = 10_000  # restored rows that are mended at a time: each statement has to end in time


@dataclass(slots=True)
class TakeOver:
    """How far a take-over has come: after which webhook it goes on, how many it asks for next, how
    many of those seen have rows waiting."""

    shards: list[int]
    after: int = -(2**63)
    size: int = 500
    waiting: int = 0

    def paced(self, seconds: float) -> None:
        """The last part took so long."""
        pace = PART_TAKES / max(seconds, 0.001)
        self.size = max(1, min(5_000, math.ceil(self.size * min(2.0, pace))))


class Watcher:
    """Runs until the connection is lost or the task is cancelled.

    epochs_before: shard to the epoch in which this daemon owned it last. Where nobody else came in
                   between, what is still to be settled stays valid.
    """

    def __init__(
        self,
        url: str,
        observer: Observer,
        settler: Settler,
        make_dispatch: Callable[[Callable[[], Snapshot], Callable[[], list[int]]], Dispatcher],
        maintenance: Maintenance,
        epochs_before: dict[int, int],
        *,
        use_bell: bool,
    ) -> None:
        self._url = url
        self._observer = observer
        self._settler = settler
        self._maintenance = maintenance
        self._before = epochs_before
        self._bell = Doorbell(usable=use_bell)
        self._rung = False
        self._wake = asyncio.Event()  # the server sent something, or a hand-over is ready
        self._handing = False  # a hand-over is under way
        self._handed: list[int] = []  # it is ready: nothing is under way in these shards any more
        self._looker: Looker | None = None
        self._ownership: Ownership | None = None
        self._notices: Notices | None = None
        self._idle_since: float | None = None
        self._arrival: TakeOver | None = None  # shards taken over of which not all is known yet
        self._layouts = Layouts()
        self.dispatcher = make_dispatch(self._snapshot, lambda: sorted(self.epochs))

    @property
    def epochs(self) -> dict[int, int]:
        """The shards owned, with their epochs."""
        return self._ownership.epochs if self._ownership is not None else {}

    @property
    def bell_mode(self) -> str:
        return self._bell.mode.value

    def may_send(self) -> bool:
        """Whether the last look was answered so recently that nobody can have taken over."""
        return self._looker is not None and boottime() - self._looker.answered_at < PING_WITHIN

    async def run(self) -> None:
        """Raises OperationalError when the connection is lost, ProgrammingError when refused."""
        conn = await open_session(self._url, "watch", owning=True)
        try:
            await self._begin(conn)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.dispatcher.run(self._url, self._layouts))
                tasks.create_task(self._maintenance.run(self.dispatcher))
                tasks.create_task(self._watch(conn, tasks))
        except BaseExceptionGroup as group:
            # Not except*: what is raised there comes out in a group of its own on some Pythons.
            refused, other = group.split((psycopg.OperationalError, psycopg.ProgrammingError))
            if refused is None or other is not None:
                raise
            raise _first(refused.subgroup(psycopg.OperationalError) or refused) from None
        finally:
            await self.dispatcher.let_go(None, LOST_GRACE)
            await conn.close()

    async def _begin(self, conn: Connection) -> None:
        conn.add_notify_handler(self._ring)
        await execute(conn, b"listen cdc", name="listen")
        while (await run(conn, "future_rows", [AT_ONCE]))[0][0]:
            pass
        await self._layouts.load(conn)
        self._looker = Looker(conn)
        await self._looker.begin()
        self._ownership = Ownership(conn)
        await self._ownership.join()
        self._notices = Notices(conn)

    async def _watch(self, conn: Connection, tasks: asyncio.TaskGroup) -> None:
        looker, ownership = self._looker, self._ownership
        assert looker is not None
        assert ownership is not None
        bell = self._bell
        counted = 0.0
        mode = bell.mode
        due = time.monotonic()
        while True:
            sent = time.monotonic()
            self._rung = False
            fleet = bool(self._handed) or sent - counted >= FLEET_EVERY
            seen = await looker.look(arm=bell.arms(sent), fleet=fleet, shards=ownership.shards)
            self._observer.looked(time.monotonic() - due)
            bell.looked(
                sent,
                found=bool(seen.webhooks),
                armed=seen.armed,
                was_armed=seen.was_armed,
                xmin=seen.snapshot.xmin,
                running=len(seen.snapshot.running),
                took=time.monotonic() - sent,
            )
            await self._tell(seen, looker, ownership, conn)
            if bell.needs_xid():
                bell.guard(await looker.take_xid())
            if seen.fleet is not None:
                counted = sent
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
            elif wait.seconds and not self._rung and not self._handed:
                await self._sleep(conn, wait.seconds)
            due = min(due + wait.seconds, time.monotonic())

    async def _tell(
        self, seen: Seen, looker: Looker, ownership: Ownership, conn: Connection
    ) -> None:
        if seen.rows is None:
            for count, (webhook_id, where) in enumerate(seen.news(), 1):
                if ownership.owns(webhook_id):
                    self.dispatcher.noticed(webhook_id, where)
                if count % NEWS_AT_ONCE == 0:
                    # Each time everything else may run: beside many deliveries that adds up.
                    await looker.ping()
        elif seen.rows:
            self.dispatcher.came(await self._layouts.deliveries(conn, seen.rows))
        if seen.touched:
            self.dispatcher.touched([w for w in seen.touched if ownership.owns(w)])
        if seen.unresolved:
            self._maintenance.resolve_soon()

    # -- who owns what ----------------------------------------------------------------------------

    async def _rebalance(self, fleet: Fleet, conn: Connection, tasks: asyncio.TaskGroup) -> None:
        """Takes what is nobody's, or hands over what is too much; one after the other."""
        ownership = self._ownership
        assert ownership is not None
        if self._handed:
            shards, self._handed, self._handing = self._handed, [], False
            # What is set aside stays valid for as long as no other daemon raises the epoch.
            self._before.update((shard, ownership.epochs[shard]) for shard in shards)
            await ownership.release(shards)
            self._observer.shards(0, len(shards), len(ownership.epochs))
        elif self._handing or self._arrival is not None:
            return
        elif surplus := ownership.surplus(fleet):
            self._handing = True
            tasks.create_task(self._hand_over(surplus))
        elif free := ownership.may_take(fleet):
            await self._take(free, fleet, conn)

    async def _idle(self, fleet: Fleet, now: float) -> None:
        """Another session has what is ours: the log says which."""
        ownership = self._ownership
        assert ownership is not None
        if ownership.epochs or self._arrival is not None:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = now
        elif now - self._idle_since >= IDLE_FOR:
            self._idle_since = now
            self._observer.idle(*await ownership.why_idle(fleet))

    async def _show(self, now: float) -> None:
        """Compares the clocks, and shows what commands want to know of this daemon."""
        shown = self._notices
        assert shown is not None
        if now < shown.due:
            return
        offset = await shown.clock()
        self._observer.clock(offset, off=abs(offset) >= advisory_locks.CLOCK_OFF_S)
        file = self._observer.log_file
        await shown.show(offset, log_lost=file is not None and file.lost > 0)

    async def _hand_over(self, surplus: list[int]) -> None:
        """Ends what is under way there. The looks go on meanwhile, and so do all other lanes."""
        await self.dispatcher.let_go(surplus, HAND_OVER_GRACE)
        # However long that takes: the looks go on, so they stay ours meanwhile.
        await self._settler.flushed()
        self._handed = surplus
        self._wake.set()

    async def _take(self, free: list[int], fleet: Fleet, conn: Connection) -> None:
        ownership, looker = self._ownership, self._looker
        assert ownership is not None
        assert looker is not None
        async with self._settler.still:
            epochs = await ownership.acquire(free, fleet)
            taken = sorted(epochs)
            self._settler.forget(
                {s for s, epoch in epochs.items() if self._before.get(s, epoch) != epoch}
            )
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
        looker, ownership = self._looker, self._ownership
        assert looker is not None
        assert ownership is not None
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
            arrival.paced(time.monotonic() - began)
            return
        self._arrival = None
        self._observer.shards(len(arrival.shards), 0, len(ownership.epochs))
        self._observer.connected(len(ownership.epochs), arrival.waiting)

    async def _flushed(self, looker: Looker) -> None:
        """Waits until all that was submitted is recorded, and keeps the session meanwhile.

        Raises psycopg.OperationalError if that does not come about.
        """
        flushing = asyncio.ensure_future(self._settler.flushed())
        try:
            for _ in range(round((ANSWER_WITHIN - 1) / PING_EVERY)):
                if (await asyncio.wait({flushing}, timeout=PING_EVERY))[0]:
                    return
                await looker.ping()
        finally:
            flushing.cancel()
        raise psycopg.OperationalError("settling does not get through")

    # -- sleeping ---------------------------------------------------------------------------------

    async def _sleep(self, conn: Connection, seconds: float) -> None:
        """Waits until the server sends something of its own accord, or for so long.

        That is a ring, or the end of the connection; the look that follows reads which. (psycopg's
        own generator of notifications keeps a backlog of those that came during a look.)
        """
        self._wake.clear()
        loop = asyncio.get_running_loop()
        loop.add_reader(conn.fileno(), self._wake.set)
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass
        finally:
            loop.remove_reader(conn.fileno())

    def _ring(self, _: object) -> None:
        self._rung = True

    def _snapshot(self) -> Snapshot:
        assert self._looker is not None
        assert self._looker.snapshot is not None
        return self._looker.snapshot


def _first(group: BaseExceptionGroup[psycopg.Error]) -> psycopg.Error:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, psycopg.Error)
    return error
