"""Backfills: rows that were there before a webhook was, queued a few at a time behind live changes.

No more of them wait than half a window, and the lane starts live changes first, so those do not
queue behind a million rows. Rows are read ahead in a session of its own: reading tables of the
suite may run code of their owners, which could leave something behind in it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import psycopg
from psycopg import errors as pg

from cdc.daemon.lease import Lease
from cdc.daemon.store.session import Connection, Row, open_session, run
from cdc.errors import words
from cdc.model import WebhookState, shard_of
from cdc.telemetry import Observer

TURN_EVERY_S = 0.025
IDLE_TURN_EVERY_S = 1.0  # where nothing may be queued, and between two looks for nothing
MISSED_EVERY_S = 60.0
"""A backfill that starts changes its webhook's version, which the watcher sees; this is for what
was missed."""
QUEUE_BATCH_ROWS = 10
"""Few and often, 400 a second at most: what is queued at once is sent at once, and a live change
that comes then waits for the processor behind it."""
IDLE_SHARE = 0.75
"""Of the time at least, however many there are."""
READ_AHEAD_ROWS = 2_000
"""Where many rows lie below one parent, a page costs a walk through all of them."""
READ_AHEAD_MIN_ROWS = 50
READ_SLOW_S = 1.5
"""A page that took longer, or too long, is followed by one of half as many rows."""
READ_GOOD_FOR_S = 30.0
"""What was read longer ago is read again: rows are deleted, and their values change."""
TRIES = 3
_PASSES = (pg.LockNotAvailable, pg.DeadlockDetected, pg.SerializationFailure)


@dataclass(slots=True)
class _Page:
    """Rows that were read ahead: the first is the one after ``place``."""

    place: list[str] | None
    rows: list[Row]
    until: float


@dataclass(slots=True)
class Backfills:
    """Those of the webhooks that this daemon owns. ``run`` lasts as long as the watcher.

    resources: of each event, as capture's functions are named.
    """

    url: str
    observer: Observer
    lease: Lease
    resources: Mapping[str, str]
    window: int
    _soon: asyncio.Event = field(default_factory=asyncio.Event)
    _pages: dict[int, _Page] = field(default_factory=dict)
    _failed: dict[int, int] = field(default_factory=dict)
    _rows: dict[int, int] = field(default_factory=dict)  # of a backfill's next page
    _reading: Connection | None = None

    def look_soon(self) -> None:
        """A registration has changed, or a shard has become ours: there may be one to do."""
        self._soon.set()

    async def run(self) -> None:
        """Carries them out until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(MISSED_EVERY_S):
                    await self._soon.wait()
            self._soon.clear()
            try:
                await self._while_there_are()
            except (psycopg.Error, TimeoutError) as error:
                self.observer.care_failed("backfill", error)
                self._soon.set()
            finally:
                await self._close_reading()
            await asyncio.sleep(IDLE_TURN_EVERY_S)

    async def _while_there_are(self) -> None:
        if not self.lease.shards:
            return
        conn = await open_session(self.url, "backfill")
        try:
            while jobs := await run(conn, "backfills", [self.lease.shards, self.window]):
                self._pages = {job[0]: p for job in jobs if (p := self._pages.get(job[0]))}
                self._rows = {job[0]: n for job in jobs if (n := self._rows.get(job[0]))}
                began = time.monotonic()
                queued = [await self._turn(conn, *job) for job in jobs]
                self.observer.backfilling(sum(queued), len(jobs) - sum(queued))
                pause = TURN_EVERY_S if any(queued) else IDLE_TURN_EVERY_S
                took = time.monotonic() - began
                await asyncio.sleep(max(pause - took, took * IDLE_SHARE / (1 - IDLE_SHARE)))
        finally:
            self.observer.backfilling(0, 0)
            await conn.close()

    async def _turn(
        self,
        conn: Connection,
        job: int,
        webhook_id: int,
        event: str,
        place: list[str] | None,
        state: str,
        waiting: int,
    ) -> bool:
        """Queues the next rows of one, if its window allows. Returns whether it did."""
        shard = shard_of(webhook_id)
        fence = [job, shard, self.lease.epochs.get(shard)]
        resource = self.resources.get(event)
        if state == WebhookState.REMOVED:
            await self._end(conn, fence, "cancelled", "its webhook was removed")
        elif resource is None:
            await self._end(conn, fence, "cancelled", f"{event} is no longer in the mapping")
        elif state == WebhookState.ACTIVE and (places := max(1, self.window // 2) - waiting) > 0:
            try:
                page = await self._page(job, resource, place)
            except psycopg.Error as error:
                await self._close_reading()
                await self._not_read(conn, fence, error)
                return False
            self._failed.pop(job, None)
            await self._queue(conn, fence, page, min(places, QUEUE_BATCH_ROWS))
            return True
        return False

    async def _page(self, job: int, resource: str, place: list[str] | None) -> _Page:
        """What comes next, read now or before. Raises psycopg.Error."""
        page = self._pages.get(job)
        if page is None or not page.rows or page.place != place or page.until < time.monotonic():
            if self._reading is None:
                self._reading = await open_session(self.url, "backfill read")
            most = self._rows.get(job, READ_AHEAD_ROWS)
            began = time.monotonic()
            try:
                rows = await run(self._reading, "backfill_read", [job, resource, most])
            finally:
                slow = time.monotonic() - began > READ_SLOW_S
                most = max(READ_AHEAD_MIN_ROWS, most // 2) if slow else most * 2
                self._rows[job] = min(most, READ_AHEAD_ROWS)
            page = _Page(place, rows, time.monotonic() + READ_GOOD_FOR_S)
            self._pages[job] = page
        return page

    async def _queue(
        self, conn: Connection, fence: list[int | None], page: _Page, most: int
    ) -> None:
        taken = _up_to(page.rows, most)
        now, rest = page.rows[:taken], page.rows[taken:]
        ended = bool(now) and now[-1][0] is None
        places = [row[0] for row in now if row[0] is not None]
        wanted = [row for row in now if row[2] is not None]
        last = places[-1] if places else page.place
        read = sum(row[1] is not None for row in now)
        [(done, _)] = await run(
            conn,
            "backfill_queue",
            [
                *fence,
                page.place,
                last,
                ended,
                read,
                [layout for _, layout, _ in wanted],
                [refs for _, _, refs in wanted],
            ],
        )
        job = fence[0]
        assert job is not None
        if not done or not rest:
            # Paused, cancelled, another owner's, or used up.
            del self._pages[job]
        else:
            page.place, page.rows = last, rest
        if done and ended:
            self.observer.backfill_ended(job, "done", "")

    async def _not_read(
        self, conn: Connection, fence: list[int | None], error: psycopg.Error
    ) -> None:
        """Reading failed: it is tried again, unless that would be for nothing."""
        job = fence[0]
        assert job is not None
        if isinstance(error, psycopg.OperationalError) and not isinstance(error, pg.QueryCanceled):
            if not isinstance(error, _PASSES):
                raise error
            self.observer.care_failed("backfill", error)
            return
        self._failed[job] = self._failed.get(job, 0) + 1
        if self._failed[job] < TRIES:
            self.observer.care_failed("backfill", error)
            return
        del self._failed[job]
        await self._end(conn, fence, "failed", f"its rows cannot be read: {words(error)}")

    async def _end(self, conn: Connection, fence: list[int | None], state: str, why: str) -> None:
        await run(conn, "backfill_end", [*fence, state, why])
        job = fence[0]
        assert job is not None
        self._pages.pop(job, None)
        self.observer.backfill_ended(job, state, why)

    async def _close_reading(self) -> None:
        if self._reading is not None:
            conn, self._reading = self._reading, None
            await conn.close()


def _up_to(rows: list[Row], most: int) -> int:
    """How many of them go before the next that is wanted would be too many: those that a filter
    leaves out cost nothing."""
    wanted = 0
    for number, (_, _, refs) in enumerate(rows):
        wanted += refs is not None
        if wanted > most:
            return number
    return len(rows)
