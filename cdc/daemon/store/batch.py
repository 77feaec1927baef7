"""The statements of one settlement: records sorted by kind, as arrays."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping

from cdc.daemon.store.records import (
    KeepLane,
    Parked,
    Record,
    Settled,
    Suspend,
    attempts,
    errors,
    promotes,
    rows,
)
from cdc.daemon.store.session import Connection, run
from cdc.lanes import Dead, Decision, Delivered, Retry
from cdc.model import Delivery
from cdc.postgres.arrays import plain

Found = dict[tuple[int, str, str], bool]
"""Resources to promote that have something left: whether the first of it was given a time."""


class Batch:
    """What is to be written, and by which statements.

    epochs: shards concerned, with the epochs in which they are ours.
    """

    def __init__(self, records: list[Record], epochs: Mapping[int, int]) -> None:
        self._epochs = [plain(list(epochs)), plain(list(epochs.values()))]
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

    @property
    def is_plain(self) -> bool:
        """All of it is one statement, which carries the fence itself."""
        return (
            not self._promote
            and not self._parked
            and not self._others
            and (list(self._kinds) == ["delivered"])
        )

    async def write_plain(self, conn: Connection) -> set[int]:
        """Runs that one statement. Returns the shards that were ours, and not locked."""
        return await self._delivered(conn, time.monotonic())

    async def write(self, conn: Connection) -> Found:
        """Runs all, in a transaction that holds the fence."""
        now = time.monotonic()
        if self._kinds["delivered"]:
            await self._delivered(conn, now)
        if recovered := self._kinds["recovered"]:
            await run(conn, "settle_recovered", attempts(recovered, now))
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
            await _other(conn, other)
        if not self._promote:
            return {}
        wanted = [list(column) for column in zip(*sorted(self._promote), strict=True)]
        return {
            (webhook_id, event, key): promoted
            for webhook_id, event, key, promoted in await run(conn, "promote", wanted)
        }

    async def _delivered(self, conn: Connection, now: float) -> set[int]:
        delivered = attempts(self._kinds["delivered"], now)
        return {row[0] for row in await run(conn, "settle_delivered", [*delivered, *self._epochs])}


async def _other(conn: Connection, record: KeepLane | Suspend) -> None:
    lane = record.lane
    if isinstance(record, Suspend):
        await run(conn, "suspend", [lane.webhook_id, record.reason, record.version])
        return
    kept = lane.kept(time.monotonic())
    await run(
        conn,
        "keep_lane",
        [lane.webhook_id, lane.breaker.value, *kept, record.error, record.version],
    )


async def locked(conn: Connection, records: list[Record]) -> set[tuple[int, int, str]]:
    """Which of the rows concerned another session holds: webhook, id and uid. Waits for none."""
    deliveries = [r.delivery for r in records if isinstance(r, Settled | Parked)]
    if not deliveries:
        return set()
    found = await run(
        conn,
        "settle_locked",
        [
            plain([d.webhook_id for d in deliveries]),
            plain([d.id for d in deliveries]),
            plain([d.uid for d in deliveries]),
        ],
    )
    return {(webhook_id, number, uid) for webhook_id, number, uid in found}
