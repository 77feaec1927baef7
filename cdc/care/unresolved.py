"""Captures changes whose company could not be found when they were made, once it can."""

from __future__ import annotations

from cdc.observe import Observer
from cdc.queue.session import Connection

AT_ONCE = 500


async def run_once(conn: Connection, observer: Observer) -> None:
    """Tries those whose time has come. Two daemons do not try the same row: they are locked."""
    async with conn.transaction():
        cursor = await conn.execute(
            b"select cdc.resolve(array("
            b" select id from cdc.unresolved where retry_at <= clock_timestamp()"
            b" order by id limit $1 for update skip locked))",
            [AT_ONCE],
        )
        row = await cursor.fetchone()
    if row is not None and row[0]:
        observer.care("captured late", row[0])
