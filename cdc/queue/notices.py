"""What a daemon shows of itself to commands, for as long as its session lives.

Shared advisory locks of the class that its shards have: they need neither row nor right, end with
the session, and no session waits for them.
"""

from __future__ import annotations

import time

from cdc.queue.ownership import LOCK_CLASS
from cdc.queue.session import Connection, execute

LOG_LOST = 65
"""Lines of its log cannot be written."""
CLOCK_EVEN, CLOCK_WITHIN = 1_000_000, 900_000
"""The clocks of daemon and database differ: the number less ``CLOCK_EVEN`` is by how many seconds
the daemon's is ahead, as far as ``CLOCK_WITHIN``."""

CLOCK_OFF = 30.0
"""Seconds from which on clocks differ."""
CLOCK_BAD = 300.0
"""Seconds from which on receivers refuse what was signed."""

EVERY = 15.0
"""Seconds between two comparisons."""


def clock_offset(number: int) -> float | None:
    """Seconds by which the daemon's clock is ahead, if this lock shows them."""
    off = number - CLOCK_EVEN
    return float(off) if abs(off) <= CLOCK_WITHIN else None


class Notices:
    """Those of one session: an owner of shards."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self._shown: set[int] = set()
        self.due = 0.0  # monotonic

    async def clock(self) -> float:
        """Seconds by which this host's clock is ahead of the database's."""
        self.due = time.monotonic() + EVERY
        sent = time.time()
        [(there,)] = await execute(
            self._conn, b"select extract(epoch from clock_timestamp())::float8", name="clock"
        )
        return float((sent + time.time()) / 2 - there)

    async def show(self, clock: float, *, log_lost: bool) -> None:
        """Shows what is so now, and nothing else."""
        wanted = {LOG_LOST} if log_lost else set()
        if abs(clock) >= CLOCK_OFF:
            off = max(-CLOCK_WITHIN, min(CLOCK_WITHIN, round(clock)))
            wanted.add(CLOCK_EVEN + off)
        for lock, numbers in (
            (b"pg_advisory_lock_shared", wanted - self._shown),
            (b"pg_advisory_unlock_shared", self._shown - wanted),
        ):
            if numbers:
                await execute(
                    self._conn,
                    b"select " + lock + b"($1::int, n) from unnest($2::int[]) n",
                    [LOCK_CLASS, sorted(numbers)],
                    "show",
                )
        self._shown = wanted
