"""Empties the attempt log's old days: TRUNCATE of a partition of the ring, without waiting."""

from __future__ import annotations

import psycopg
from psycopg.errors import LockNotAvailable

from cdc.observe import Observer
from cdc.queue.session import Connection, answering, execute

RING = 32  # partitions in sql/schema/70_attempt.sql


async def run_once(conn: Connection, log_days: int, observer: Observer) -> None:
    """Empties the days that are older than ``log_days``. One that is locked (a pg_dump) is left for
    the next round; settling never waits, because it writes to today's."""
    [(today,)] = await execute(
        conn, b"select floor(extract(epoch from clock_timestamp()) / 86400)::int", name="prune"
    )
    keep = {(today - ago) % RING for ago in range(-1, log_days + 1)}
    emptied = 0
    for slot in sorted(set(range(RING)) - keep):
        table = f"cdc.attempt_{slot:02d}".encode()
        [(found,)] = await execute(
            conn, b"select exists (select from " + table + b")", name="prune"
        )
        if not found:
            continue
        try:
            with answering(conn, "prune"):
                async with conn.transaction():
                    await conn.execute(b"set local lock_timeout = '100ms'")
                    await conn.execute(b"truncate " + table)
            emptied += 1
        except LockNotAvailable as error:
            observer.care_failed("prune", psycopg.OperationalError(str(error)))
    if emptied:
        observer.care("days of the attempt log emptied", emptied)
