"""Ends what was held (its webhook paused or suspended) or dead for too long; never silently.

Some rows at a time, each time a transaction of its own: nobody waits for it, and a daemon that is
stopped in the middle leaves the rest to the next one. Several daemons may be at it together.
"""

from __future__ import annotations

import psycopg

from cdc.daemon.store.session import Connection, run
from cdc.telemetry import Observer

AT_ONCE = 1000
DAY = 86_400


async def run_once(
    conn: Connection, held_days: float, dead_days: float, observer: Observer
) -> None:
    """Expires all whose time is over."""
    held = 0
    for (webhook_id,) in await run(conn, "expire_which", [held_days * DAY]):
        try:
            held += await _queued(conn, webhook_id, held_days * DAY)
            held += await _retried(conn, webhook_id, held_days * DAY)
        except psycopg.Error as error:
            # What is odd or locked there keeps nothing else from expiring.
            observer.care_failed(f"expire webhook {webhook_id}", error)
    observer.expired("held", held)
    observer.expired("dead", await _dead(conn, dead_days * DAY))


async def _queued(conn: Connection, webhook_id: int, seconds: float) -> int:
    total: int = 0
    while True:
        [(expired,)] = await run(conn, "expire_queue", [webhook_id, seconds, AT_ONCE])
        total += expired
        if expired < AT_ONCE:
            return total


async def _retried(conn: Connection, webhook_id: int, seconds: float) -> int:
    total: int = 0
    after = -(2**63)
    while True:
        async with conn.transaction():
            [(last, expired, events, keys)] = await run(
                conn, "expire_retry", [webhook_id, seconds, after, AT_ONCE]
            )
            if events:
                await run(conn, "promote", [[webhook_id] * len(events), events, keys])
        total += expired
        if last is None:
            return total
        after = last


async def _dead(conn: Connection, seconds: float) -> int:
    total: int = 0
    while True:
        [(expired,)] = await run(conn, "expire_dead", [seconds, AT_ONCE])
        total += expired
        if expired < AT_ONCE:
            return total
