"""The slow sweep: the oldest rows that nobody holds. It should never find any; it is counted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from cdc.daemon.store.session import Connection, run
from cdc.model import Span
from cdc.telemetry import Observer

OLDER_THAN = 60.0
AT_ONCE = 1000


class SweptLanes(Protocol):
    """Asked for what it holds, told of what it does not."""

    def missing(self, webhook_id: int, delivery_id: int, uid: str) -> bool: ...

    def noticed(self, webhook_id: int, where: Span) -> None: ...

    def touched(self, webhook_ids: Iterable[int]) -> None: ...

    def shards(self) -> list[int]: ...


async def run_once(conn: Connection, lanes: SweptLanes, observer: Observer) -> None:
    """Compares the lowest old row of each webhook with what its lane knows, and has those retried
    that are parked behind no other."""
    for webhook_id, number, uid in await run(conn, "sweep", [lanes.shards(), OLDER_THAN]):
        if lanes.missing(webhook_id, number, uid):
            observer.swept(webhook_id, number)
            lanes.noticed(webhook_id, Span(number))
    for webhook_id, number in await run(conn, "sweep_retry", [lanes.shards(), OLDER_THAN]):
        observer.swept(webhook_id, number)
        lanes.touched([webhook_id])
    if mended := (await run(conn, "future_rows", [AT_ONCE]))[0][0]:
        observer.maintenance("transaction ids of restored rows mended", mended)
