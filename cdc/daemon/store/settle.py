"""Settle: outcomes are recorded in batches, in their order, on one connection, and fenced.

Delivering and recording are two rooms: this one goes on while the daemon stops, and tries again
when the database goes away, for as long as the shard is still ours. What a single row or a lock
keeps from being recorded (recorder.py) is set aside, and stops nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Protocol

import psycopg

from cdc.backoff import Backoff
from cdc.daemon.lease import Lease
from cdc.daemon.store.batch import Found
from cdc.daemon.store.deferred import Aside
from cdc.daemon.store.recorder import Recorder, Stuck
from cdc.daemon.store.records import Parked, Record, Settled
from cdc.lanes import PLAIN_SUCCESS, Lane
from cdc.model import Delivery, shard_of
from cdc.telemetry import Observer

SETTLE_BATCH_RECORDS = 1000
# Attempts of one webhook that are set aside, above which it alone is sent nothing more.
SET_ASIDE_LIMIT = 50
# A success waits this long for others: recording it is not urgent, and a full batch costs little
# more than one. Everything else is what a lane waits for: it is recorded at once.
LINGER_S = 0.1
STEADY_LINGER_S = 0.3  # where as many as STEADY_RECORDS came together the last time
STEADY_RECORDS = 2
LINGER_BELOW_RECORDS = 100  # as many do not wait for more
RECONNECT_FIRST_S, RECONNECT_LONGEST_S = 0.05, 1.0


class Listener(Protocol):
    """Where settled deliveries return to their lanes."""

    def recorded(self, records: Sequence[Record], found: Found) -> None:
        """These are committed; found: what became of promotions. What waited for recording may go
        on, as it may when others were refused or set aside: then this is empty."""


class Settler:
    """Records what is submitted. One per daemon; outlives a lost connection.

    lease:    has the epochs: records of other daemons' shards are dropped, they send again.
    limit:    attempts that have ended and are not recorded, above which nothing is started: a
              daemon that is killed leaves that many to be sent again, besides those in flight.
    listener: of the dispatcher that is at work now.
    unrecorded: attempts that have ended and are not recorded, without those set aside.
    """

    def __init__(self, url: str, observer: Observer, lease: Lease, limit: int = 500) -> None:
        self._observer = observer
        self._limit = limit
        self._linger_below = max(1, min(LINGER_BELOW_RECORDS, limit // 4))
        self.listener: Listener | None = None
        self._recorder = Recorder(url, observer, lease, self)
        self._records: list[Record] = []
        self._aside = Aside()
        self.unrecorded = 0
        self._writing = 0  # the first of the records are being written
        self._linger = LINGER_S
        self._over = 0
        self._advanced = asyncio.Event()
        self._work = asyncio.Event()
        self._hurry = asyncio.Event()
        # Held while a batch is recorded, and by a take-over while epochs change: a batch that was
        # fenced with the old one would be refused although no other daemon owned the shard.
        self.still = asyncio.Lock()

    @property
    def set_aside(self) -> int:
        """Attempts that have ended and cannot be recorded just now."""
        return self._aside.attempts.total()

    def behind(self, webhook_id: int) -> bool:
        """Recording has to catch up before more is sent to this webhook."""
        if self.unrecorded >= self._limit:
            return True
        return bool(self._aside) and self._aside.attempts[webhook_id] >= SET_ASIDE_LIMIT

    def submit(self, record: Record) -> None:
        """Takes a record; its lane hears of it when it is committed."""
        if self._aside and self._aside.takes(record):
            return
        self._records.append(record)
        self._work.set()
        if isinstance(record, Settled):
            self.unrecorded += 1
            few = len(self._records) < self._writing + self._linger_below
            if few and record.decision is PLAIN_SUCCESS and not record.lane.starves:
                return
        self._hurry.set()

    def park(self, lane: Lane, deliveries: Iterable[Delivery]) -> None:
        """Submits changes that wait behind a retried one."""
        for delivery in deliveries:
            self.submit(Parked(lane, delivery))

    def forget(self, shards: set[int]) -> None:
        """Drops what was submitted for these shards: another daemon owned them meanwhile.

        Only while ``still`` is held.
        """
        records = [*self._records, *self._aside.all()]
        self._remove([r for r in records if shard_of(r.lane.webhook_id) in shards])

    async def flushed(self) -> None:
        """Returns when all that was submitted until now is recorded or set aside. What is submitted
        meanwhile is not waited for: under load there is always some."""
        until = self._over + len(self._records)
        self._hurry.set()
        while self._over < until:
            self._advanced.clear()
            await self._advanced.wait()

    async def run(self) -> None:
        """Records until cancelled."""
        backoff = Backoff(RECONNECT_FIRST_S, RECONNECT_LONGEST_S)
        while True:
            await self._wait()
            try:
                async with self.still:
                    await self._record()
                    # Last: what nothing is in the way of does not wait for what is locked.
                    if again := self._aside.due(SETTLE_BATCH_RECORDS):
                        with suppress(Stuck):
                            await self._recorder.record(again)
            except psycopg.OperationalError as error:
                self._observer.settling_failed(error, len(self._records))
                if not isinstance(error, Stuck):
                    await self.close()
                await asyncio.sleep(backoff.pause)
                backoff.double()
            else:
                backoff.reset()

    async def _wait(self) -> None:
        """Until there is something to record, or to try again."""
        # Not wait_for: on Python 3.11 it loses a cancellation that comes with the event.
        with suppress(TimeoutError):
            async with asyncio.timeout(self._aside.due_in()):
                await self._work.wait()
        if self._work.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(self._linger):
                    await self._hurry.wait()

    async def _record(self) -> None:
        batch = self._records[:SETTLE_BATCH_RECORDS]
        if len(batch) == len(self._records):
            self._hurry.clear()
        if not batch:
            self._work.clear()
            self._observer.settled(0)
            return
        self._writing = len(batch)
        self._linger = LINGER_S if len(batch) < STEADY_RECORDS else STEADY_LINGER_S
        try:
            await self._recorder.record(batch)
        finally:
            self._writing = 0

    async def close(self) -> None:
        await self._recorder.close()

    # -- reported by the recorder -----------------------------------------------------------------

    def recorded(self, records: list[Record], written: list[Record], found: Found) -> None:
        """They are committed, as ``written``."""
        self._observer.settled(len(records))
        self._remove(records)
        self._report(written, found)

    def refused(self, records: list[Record]) -> None:
        """Their shard has another owner."""
        self._observer.settlement_refused(len(records))
        self._remove(records)
        self._report((), {})

    def put_aside(self, records: list[Record]) -> None:
        """They cannot be recorded just now."""
        self._drop(records)
        self._aside.put(records)
        self._report((), {})

    def _report(self, records: Sequence[Record], found: Found) -> None:
        if self.listener is not None:
            self.listener.recorded(records, found)

    def _remove(self, records: list[Record]) -> None:
        if self._aside:
            self._aside.remove(records)
        self._drop(records)

    def _drop(self, records: list[Record]) -> None:
        """They lie here no longer."""
        gone = set(map(id, records))
        mine = [record for record in self._records if id(record) in gone]
        if not mine:
            return
        if mine[-1] is self._records[len(mine) - 1]:
            del self._records[: len(mine)]
        else:
            self._records = [record for record in self._records if id(record) not in gone]
        self.unrecorded -= sum(isinstance(record, Settled) for record in mine)
        self._over += len(mine)
        self._advanced.set()
