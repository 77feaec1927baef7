"""The slow sweep: the oldest rows that no lane holds. It should never find any; it is counted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from cdc.daemon.store.session import Connection, run, run_within
from cdc.model import Span
from cdc.telemetry import Observer

SWEPT_AFTER_S = 60.0
SWEEP_BATCH_ROWS = 1000
SWEEP_WITHIN_S = 1.0
"""A statement that takes longer is ended, and made again next time: while a session holds an old
snapshot it walks over an index entry for each delivery since, some 3 million in a second. What it
looks for is never there but for a fault of ours, and is found when that snapshot is gone."""


class SweptLanes(Protocol):
    """Asked for what it holds, notified of what it does not."""

    def missing(self, webhook_id: int, delivery_id: int, uid: str) -> bool: ...

    def noticed(self, webhook_id: int, where: Span) -> None: ...

    def touched(self, webhook_ids: Iterable[int]) -> None: ...

    def shards(self) -> list[int]: ...


async def run_once(conn: Connection, lanes: SweptLanes, observer: Observer) -> None:
    """Compares the lowest old row of each webhook with what its lane knows, and has those retried
    that are parked behind no other."""
    asked = [lanes.shards(), SWEPT_AFTER_S]
    for webhook_id, number, uid in await run_within(conn, "sweep", asked, SWEEP_WITHIN_S) or ():
        if lanes.missing(webhook_id, number, uid):
            observer.swept(webhook_id, number)
            lanes.noticed(webhook_id, Span(number))
    for webhook_id, number in await run_within(conn, "sweep_retry", asked, SWEEP_WITHIN_S) or ():
        observer.swept(webhook_id, number)
        lanes.touched([webhook_id])
    if mended := (await run(conn, "future_rows", [SWEEP_BATCH_ROWS]))[0][0]:
        observer.maintenance("transaction ids of restored rows corrected", mended)
