"""Logs as dropped what was queued for a removed webhook, strays of open writers included."""

from __future__ import annotations

import time

from cdc.daemon.store.session import Connection, run
from cdc.telemetry import Observer

DROP_BATCH_ROWS = 1000
DROP_TURN_S = 3.0
"""The other jobs have their turn after that; late capture is one of them."""
FIRST_ID = -(2**63)


async def run_once(conn: Connection, webhook_id: int, observer: Observer) -> bool:
    """Drops what there is of one webhook, some rows at a time. Returns whether that was all."""
    total = 0
    queued = retried = FIRST_ID
    until = time.monotonic() + DROP_TURN_S
    while more := time.monotonic() < until:
        [(dropped, last_queued, last_retried)] = await run(
            conn, "drop_removed", [webhook_id, queued, retried, DROP_BATCH_ROWS]
        )
        total += dropped
        if last_queued is None and last_retried is None:
            break
        queued = queued if last_queued is None else last_queued
        retried = retried if last_retried is None else last_retried
    if total:
        observer.maintenance("dropped for a removed webhook", total)
    return more
