"""Logs as dropped what was queued for a removed webhook, strays of open writers included."""

from __future__ import annotations

from cdc.daemon.store.session import Connection, run
from cdc.telemetry import Observer

AT_ONCE = 1000


async def run_once(conn: Connection, webhook_id: int, observer: Observer) -> None:
    """Drops all of one webhook, some rows at a time."""
    total = 0
    while True:
        dropped = (await run(conn, "drop_removed", [webhook_id, AT_ONCE]))[0][0]
        total += dropped
        if dropped < AT_ONCE:
            break
    if total:
        observer.maintenance("dropped for a removed webhook", total)
