"""Settle: outcomes are recorded in batches, in their order, on one connection, and fenced.

Delivering and recording are two rooms: this one goes on while the daemon stops, and tries again
when the database goes away, for as long as the shard is still ours.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress

import psycopg

from cdc.lanes import PLAIN_SUCCESS, Dead, Decision, Delivered, Lane, Retry
from cdc.observe import Observer
from cdc.queue.ownership import shard_of
from cdc.queue.records import (
    KeepLane,
    Parked,
    Promote,
    Record,
    Settled,
    Suspend,
    attempts,
    errors,
    promotes,
    rows,
)
from cdc.queue.session import Connection, answering, open_session, run
from cdc.road import Delivery

BATCH = 1000
# A success waits so long for company: recording it is not urgent, and a full batch costs little
# more than one. Everything else is what a lane waits for: it is recorded at once.
LINGER = 0.025


class Settler:
    """Records what is submitted. One per daemon; outlives a lost connection.

    epoch_of: a shard's epoch if it is ours, else None: its records are dropped then, because its
              new owner sends again.
    confirmed: called after each commit with the lanes that may go on.
    """

    def __init__(
        self,
        url: str,
        observer: Observer,
        epoch_of: Callable[[int], int | None],
        confirmed: Callable[[set[Lane]], None],
    ) -> None:
        self._url = url
        self._observer = observer
        self._epoch_of = epoch_of
        self._confirmed = confirmed
        self._records: list[Record] = []
        self._recorded = 0
        self._advanced = asyncio.Event()
        self._work = asyncio.Event()
        self._conn: Connection | None = None
        self._hurry = asyncio.Event()
        # Held while a batch is recorded, and by a take-over while epochs change: a batch that was
        # fenced with the old one would be refused although nobody else owned the shard.
        self.still = asyncio.Lock()

    def submit(self, record: Record) -> None:
        """Takes a record; its lane hears of it when it is committed."""
        self._records.append(record)
        self._work.set()
        plain_success = isinstance(record, Settled) and record.decision is PLAIN_SUCCESS
        if not plain_success or len(self._records) >= BATCH:
            self._hurry.set()

    def park(self, lane: Lane, deliveries: Iterable[Delivery]) -> None:
        """Submits changes that wait behind a retried one."""
        for delivery in deliveries:
            self.submit(Parked(lane, delivery))

    def forget(self, shards: set[int]) -> None:
        """Drops what was submitted for these shards: somebody else owned them meanwhile.

        Only while ``still`` is held.
        """
        kept = [r for r in self._records if shard_of(r.lane.webhook_id) not in shards]
        self._advance(len(self._records) - len(kept))
        self._records = kept

    async def flushed(self) -> None:
        """Returns when all that was submitted until now is recorded. What is submitted meanwhile is
        not waited for: under load there is always some."""
        until = self._recorded + len(self._records)
        self._hurry.set()
        while self._recorded < until:
            self._advanced.clear()
            await self._advanced.wait()

    def _advance(self, records: int) -> None:
        self._recorded += records
        self._advanced.set()

    async def run(self) -> None:
        """Records until cancelled."""
        pause = 0.05
        while True:
            await self._work.wait()
            # Not wait_for: on Python 3.11 it loses a cancellation that comes with the event.
            with suppress(TimeoutError):
                async with asyncio.timeout(LINGER):
                    await self._hurry.wait()
            try:
                async with self.still:
                    batch = self._records[:BATCH]
                    if len(batch) == len(self._records):
                        self._hurry.clear()
                    if not batch:
                        self._work.clear()
                        self._observer.settled(0)
                        continue
                    lanes = await self._record(batch)
                    del self._records[: len(batch)]
            except psycopg.OperationalError as error:
                self._observer.settling_failed(error, len(self._records))
                await self.close()
                await asyncio.sleep(pause)
                pause = min(pause * 2, 1.0)
                continue
            pause = 0.05
            self._observer.settled(len(batch))
            self._advance(len(batch))
            self._confirmed(lanes)

    async def close(self) -> None:
        if self._conn is not None:
            conn, self._conn = self._conn, None
            await conn.close()

    async def _record(self, batch: list[Record]) -> set[Lane]:
        """One transaction. Returns the lanes it concerned."""
        if self._conn is None:
            self._conn = await open_session(self._url, "settle")
        conn = self._conn
        shards = {}
        for record in batch:
            shard = shard_of(record.lane.webhook_id)
            epoch = self._epoch_of(shard)
            if epoch is not None:
                shards[shard] = epoch
        with answering(conn, "settling"):
            async with conn.transaction():
                fenced = await run(conn, "fence", [list(shards), list(shards.values())])
                ours = {row[0] for row in fenced}
                mine = [r for r in batch if shard_of(r.lane.webhook_id) in ours]
                found = await _Batch(mine).write(conn)
        lanes: set[Lane] = set()
        for record in mine:
            lanes.add(record.lane)
            if isinstance(record, Settled | Parked):
                record.lane.settled(record.delivery)
        for record in mine:
            if isinstance(record, Parked):
                if found.get((record.lane.webhook_id, *record.delivery.resource)):
                    record.lane.noticed_due(time.monotonic())
            elif (resource := promotes(record)) is not None and record.lane.promoted(
                resource, (record.lane.webhook_id, *resource) in found
            ):
                self.submit(Promote(record.lane, resource))
        if len(mine) < len(batch):
            self._observer.settlement_refused(len(batch) - len(mine))
        return lanes


class _Batch:
    """The statements of one transaction: records sorted by kind, as arrays."""

    def __init__(self, records: list[Record]) -> None:
        self._kinds: dict[str, list[Settled]] = defaultdict(list)
        self._parked: list[Delivery] = []
        self._promote: set[tuple[int, str, str]] = set()
        self._others: list[KeepLane | Suspend] = []
        for record in records:
            if (resource := promotes(record)) is not None:
                self._promote.add((record.lane.webhook_id, *resource))
            match record:
                case Settled(decision=Decision(settlement=Delivered())):
                    kind = "recovered" if record.delivery.retrying else "delivered"
                    self._kinds[kind].append(record)
                case Settled(decision=Decision(settlement=Retry())):
                    self._kinds["failed"].append(record)
                case Settled():
                    self._kinds["dead"].append(record)
                case Parked():
                    self._parked.append(record.delivery)
                    self._promote.add((record.lane.webhook_id, *record.delivery.resource))
                case KeepLane() | Suspend():
                    self._others.append(record)

    async def write(self, conn: Connection) -> dict[tuple[int, str, str], bool]:
        """Runs them. Returns, of the resources to promote, those of which something is left to
        retry, and whether its first was given a time by this."""
        now = time.monotonic()
        for kind in ("delivered", "recovered"):
            if self._kinds[kind]:
                await run(conn, f"settle_{kind}", attempts(self._kinds[kind], now))
        if failed := self._kinds["failed"]:
            retries = [r.decision.settlement for r in failed]
            await run(
                conn,
                "settle_failed",
                [
                    *attempts(failed, now),
                    *errors(failed),
                    [s.attempts for s in retries if isinstance(s, Retry)],
                    [s.due_in for s in retries if isinstance(s, Retry)],
                    *rows(failed),
                ],
            )
        if dead := self._kinds["dead"]:
            deaths = [r.decision.settlement for r in dead]
            await run(
                conn,
                "settle_dead",
                [
                    *attempts(dead, now),
                    *errors(dead),
                    [s.attempts for s in deaths if isinstance(s, Dead)],
                    *rows(dead),
                ],
            )
        if self._parked:
            await run(
                conn,
                "park",
                [
                    [d.webhook_id for d in self._parked],
                    [d.id for d in self._parked],
                    [d.uid for d in self._parked],
                    [d.resource.event for d in self._parked],
                    [d.resource.key for d in self._parked],
                ],
            )
        for other in self._others:
            await self._other(conn, other)
        if not self._promote:
            return {}
        wanted = [list(column) for column in zip(*sorted(self._promote), strict=True)]
        return {
            (webhook_id, event, key): promoted
            for webhook_id, event, key, promoted in await run(conn, "promote", wanted)
        }

    async def _other(self, conn: Connection, record: KeepLane | Suspend) -> None:
        if isinstance(record, Suspend):
            await run(conn, "suspend", [record.lane.webhook_id, record.reason])
            return
        lane = record.lane
        kept = lane.kept(time.monotonic())
        await run(
            conn,
            "keep_lane",
            [lane.webhook_id, lane.breaker.value, *kept, record.error, record.version],
        )
