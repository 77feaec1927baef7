"""What comes at once into tables that the planner takes for empty becomes known to it in time.

Recording would crawl, and asking which of 5,000 retries are due took longer than a statement may.
"""

from __future__ import annotations

import time

from cdc.daemon.store.session import Connection, run_within

FEW_ROWS = 20  # statements that have to do with fewer are quick, however they are planned
STATISTICS_EVERY_S = 0.5
STATISTICS_WITHIN_S = 2.0
STATISTICS_PAUSE_PER_S = 30  # seconds without a look, for each that one took: all wait for it
STATISTICS_FAILED_S = 60.0  # without a look after an error, which the server's log has


class Statistics:
    """Looks at the statistics of our tables before statements of one connection."""

    def __init__(self) -> None:
        self._again_at = 0.0

    async def refresh(self, conn: Connection, rows: int) -> None:
        """rows: how many the next statements have to do with."""
        began = time.monotonic()
        if rows < FEW_ROWS or began < self._again_at:
            return
        done = await run_within(conn, "refresh_statistics", [], STATISTICS_WITHIN_S)
        ended = time.monotonic()
        least = STATISTICS_FAILED_S if done == [(False,)] else STATISTICS_EVERY_S
        self._again_at = ended + max(least, STATISTICS_PAUSE_PER_S * (ended - began))
