"""Ends what was held (paused, suspended) or dead for too long; never silently."""

from __future__ import annotations

from cdc.observe import Observer
from cdc.queue.session import Connection, run

AT_ONCE = 1000
DAY = 86_400


async def run_once(conn: Connection, held_days: float, observer: Observer) -> None:
    """Expires all whose time is over, some rows at a time."""
    total = 0
    while True:
        expired = (await run(conn, "expire", [held_days * DAY, AT_ONCE]))[0][0]
        total += expired
        if expired < AT_ONCE:
            break
    if total:
        observer.care("expired", total)
