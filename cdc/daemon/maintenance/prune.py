"""Empties the attempt log's old days: TRUNCATE of a partition of the ring, without waiting.
Old notices and backfills go with them."""

from __future__ import annotations

import psycopg
from psycopg.errors import LockNotAvailable

from cdc.daemon.maintenance import notices
from cdc.daemon.store.session import Connection, answering, execute, run
from cdc.model import LOG_RING
from cdc.settings.kinds import DAY
from cdc.telemetry import Observer

BACKFILLS_PRUNED_ROWS = 1_000

# The list of what was owed has a gap where a client has not come beyond that transaction.
_REMEMBER = b"""
update cdc.installation i set log_pruned = gone.xid
  from (select max(last.xid) as xid
          from cdc.webhook w
         cross join lateral (select a.xid from %s a
                              where a.webhook_id = w.id and a.outcome <> 'failed'
                              order by a.xid desc limit 1) last) gone
 where gone.xid > i.log_pruned
"""


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
                    await conn.execute(_REMEMBER % _table(slot))
                    await conn.execute(b"truncate " + _table(slot))
            emptied += 1
        except LockNotAvailable as error:
            observer.care_failed("prune", psycopg.OperationalError(str(error)))
    await notices.prune(conn, log_days * DAY)
    await run(conn, "backfill_prune", [log_days * DAY, BACKFILLS_PRUNED_ROWS])
    if emptied:
        observer.maintenance("days of the attempt log emptied", emptied)


async def _day(conn: Connection, slot: int) -> int | None:
    """The day of a partition, by any of its rows; None: it is empty. (Asked of the partition,
    not of the log: that would wait for a lock on any of them. No parameter can name a table.)"""
    query = b"select floor(extract(epoch from at) / 86400)::int from " + _table(slot) + b" limit 1"
    found = await execute(conn, query, name="prune")
    return found[0][0] if found else None


def _table(slot: int) -> bytes:
    return f"cdc.attempt_{slot:02d}".encode()
