"""Settle: outcomes are recorded in batches, in their order, on one connection, and fenced.

Delivering and recording are two rooms: this one goes on while the daemon stops, and tries again
when the database goes away, for as long as the shard is still ours. What a single row or a lock
keeps from being recorded (recorder.py) is set aside, and stops nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress

import psycopg

from cdc.daemon.store.deferred import Aside
from cdc.daemon.store.recorder import Recorder, Stuck
from cdc.daemon.store.records import Parked, Record, Settled
from cdc.lanes import PLAIN_SUCCESS, Lane
from cdc.model import Delivery, shard_of
from cdc.telemetry import Observer

BATCH = 1000
# Attempts that have ended and are not recorded, above which nothing is started: a daemon that is
# killed leaves so many to be sent again, beside those that are in flight.
UNRECORDED = 500
# The same for a webhook some of whose attempts are set aside: it alone waits.
SET_ASIDE = 50
# A success waits so long for company: recording it is not urgent, and a full batch costs little
# more than one. Everything else is what a lane waits for: it is recorded at once.
LINGER = 0.025
COMPANY = 100  # records that wait for no more


class Settler:
    """Records what is submitted. One per daemon; outlives a lost connection.

    epoch_of: a shard's epoch if it is ours, else None: its records are dropped then, because its
              new owner sends again.
    confirmed: called after each commit with the lanes that may go on.
    unrecorded: attempts that have ended and are not recorded, without those set aside.
    """

    def __init__(
        self,
        url: str,
        observer: Observer,
        epoch_of: Callable[[int], int | None],
        confirmed: Callable[[set[Lane]], None],
    ) -> None:
        self._observer = observer
        self._confirmed = confirmed
        self._recorder = Recorder(url, observer, epoch_of, self)
        self._records: list[Record] = []
        self._aside = Aside()
        self.unrecorded = 0
        self._writing = 0  # the first of the records are being written
        self._over = 0
        self._advanced = asyncio.Event()
        self._work = asyncio.Event()
        self._hurry = asyncio.Event()
        # Held while a batch is recorded, and by a take-over while epochs change: a batch that was
        # fenced with the old one would be refused although nobody else owned the shard.
        self.still = asyncio.Lock()

    @property
    def set_aside(self) -> int:
        """Attempts that have ended and cannot be recorded just now."""
        return self._aside.attempts.total()

    def behind(self, webhook_id: int) -> bool:
        """Recording has to catch up before more is sent to this webhook."""
        if self.unrecorded >= UNRECORDED:
            return True
        return bool(self._aside) and self._aside.attempts[webhook_id] >= SET_ASIDE

    def submit(self, record: Record) -> None:
        """Takes a record; its lane hears of it when it is committed."""
        if self._aside and self._aside.takes(record):
            return
        self._records.append(record)
        self._work.set()
        if isinstance(record, Settled):
            self.unrecorded += 1
            if record.decision is PLAIN_SUCCESS and len(self._records) < self._writing + COMPANY:
                return
        self._hurry.set()

    def park(self, lane: Lane, deliveries: Iterable[Delivery]) -> None:
        """Submits changes that wait behind a retried one."""
        for delivery in deliveries:
            self.submit(Parked(lane, delivery))

    def forget(self, shards: set[int]) -> None:
        """Drops what was submitted for these shards: somebody else owned them meanwhile.

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
        pause = 0.05
        while True:
            await self._wait()
            try:
                async with self.still:
                    await self._record()
                    # Last: what nothing is in the way of does not wait for what is locked.
                    if again := self._aside.due(BATCH):
                        with suppress(Stuck):
                            await self._recorder.record(again)
            except psycopg.OperationalError as error:
                self._observer.settling_failed(error, len(self._records))
                if not isinstance(error, Stuck):
                    await self.close()
                await asyncio.sleep(pause)
                pause = min(pause * 2, 1.0)
            else:
                pause = 0.05

    async def _wait(self) -> None:
        """Until there is something to record, or to try again."""
        # Not wait_for: on Python 3.11 it loses a cancellation that comes with the event.
        with suppress(TimeoutError):
            async with asyncio.timeout(self._aside.due_in()):
                await self._work.wait()
        if self._work.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(LINGER):
                    await self._hurry.wait()

    async def _record(self) -> None:
        batch = self._records[:BATCH]
        if len(batch) == len(self._records):
            self._hurry.clear()
        if not batch:
            self._work.clear()
            self._observer.settled(0)
            return
        self._writing = len(batch)
        try:
            await self._recorder.record(batch)
        finally:
            self._writing = 0

    async def close(self) -> None:
        await self._recorder.close()

    # -- told by the recorder ---------------------------------------------------------------------

    def over(self, records: list[Record], lanes: set[Lane]) -> None:
        """They are recorded, or refused; these lanes may go on."""
        self._remove(records)
        self._confirmed(lanes)

    def put_aside(self, records: list[Record]) -> None:
        """They cannot be recorded just now."""
        self._drop(records)
        self._aside.put(records)
        self._confirmed(set())

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
