"""What a daemon shows of itself to commands, for as long as its session lives.

Shared advisory locks of the class that its shards have: they need neither row nor right, end with
the session, and no session waits for them.
"""

from __future__ import annotations

import time

from cdc.daemon.store.session import Connection, run
from cdc.postgres.advisory_locks import CLOCK_EVEN, CLOCK_OFF_S, CLOCK_WITHIN, LOCK_CLASS, LOG_LOST

COMPARE_CLOCKS_EVERY_S = 15.0
"""Seconds between two comparisons."""


class Flags:
    """Those of one session: an owner of shards."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self._shown: set[int] = set()
        self.due = 0.0  # monotonic

    async def clock(self) -> float:
        """Seconds by which this host's clock is ahead of the database's."""
        self.due = time.monotonic() + COMPARE_CLOCKS_EVERY_S
        sent = time.time()
        [(there,)] = await run(self._conn, "clock")
        return float((sent + time.time()) / 2 - there)

    async def show(self, clock: float, *, log_lost: bool) -> None:
        """Shows what is so now, and nothing else."""
        wanted = {LOG_LOST} if log_lost else set()
        if abs(clock) >= CLOCK_OFF_S:
            off = max(-CLOCK_WITHIN, min(CLOCK_WITHIN, round(clock)))
            wanted.add(CLOCK_EVEN + off)
        if new := wanted - self._shown:
            await run(self._conn, "flag_show", [LOCK_CLASS, sorted(new)])
        if old := self._shown - wanted:
            await run(self._conn, "flag_hide", [LOCK_CLASS, sorted(old)])
        self._shown = wanted
