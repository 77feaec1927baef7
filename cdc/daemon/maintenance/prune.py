"""Empties the attempt log's old days: TRUNCATE of a partition of the ring, without waiting.
Old notices and backfills go with them."""

from __future__ import annotations

import psycopg
from psycopg.errors import LockNotAvailable

from cdc.daemon.maintenance import notices
from cdc.daemon.store.session import Connection, answering, execute, run
from cdc.model import LOG_RING
from cdc.postgres import sqlfiles
from cdc.settings.kinds import DAY
from cdc.telemetry import Observer

BACKFILLS_PRUNED_ROWS = 1_000


async def run_once(conn: Connection, log_days: int, observer: Observer) -> None:
    """Empties the days that are older than ``log_days``. One that is locked (a pg_dump) is left for
    the next round; settling never waits, because it writes to today's.

    Counted from the newest day before today that has entries: a clock that has jumped ahead says
    nothing of the age of what was written before.
    """
    [(today,)] = await run(conn, "log_today")
    days = {slot: day for slot in range(LOG_RING) if (day := await _day(conn, slot)) is not None}
    last = max((day for day in days.values() if day < today), default=today)
    # Whatever else lies there, these are being written.
    written = {(today - ago) % LOG_RING for ago in range(-1, log_days + 1)}
    emptied = 0
    for slot, day in days.items():
        if day > last - log_days or slot in written:
            continue
        try:
            with answering(conn, "prune"):
                async with conn.transaction():
                    await conn.execute(b"set local lock_timeout = '100ms'")
                    await conn.execute(_of_partition("log_forget", slot))
                    await conn.execute(f"truncate cdc.attempt_{slot:02d}".encode())
            emptied += 1
        except LockNotAvailable as error:
            observer.care_failed("prune", psycopg.OperationalError(str(error)))
    await notices.prune(conn, log_days * DAY)
    await run(conn, "backfill_prune", [log_days * DAY, BACKFILLS_PRUNED_ROWS])
    if emptied:
        observer.maintenance("days of the attempt log emptied", emptied)


async def _day(conn: Connection, slot: int) -> int | None:
    """The day of a partition; None: it is empty."""
    found = await execute(conn, _of_partition("log_day", slot), name="prune")
    return found[0][0] if found else None


def _of_partition(name: str, slot: int) -> bytes:
    """A query of the log's partition 00, for this one: no parameter can name a table."""
    return sqlfiles.query(name).replace("attempt_00", f"attempt_{slot:02d}").encode()
