"""Measures what waits, and for how long: for the metrics and for `/readyz`."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from cdc.daemon.store.session import Connection, run
from cdc.telemetry import Backlog, Observer

MEASURE_EVERY_S = 15.0
"""Seconds between two measurements that cost next to nothing."""
MEASURE_SHARE_OF_TIME = 0.02
"""Share of the time that measuring may take: it becomes rarer where it is expensive."""
MEASURED_ROWS = 100_000
COUNTED_ROWS = (10, 10_000)


@dataclass(slots=True)
class Measure:
    """Keeps the next measurement's cost in bounds by what the last one found."""

    every: float = MEASURE_EVERY_S
    _each: int = COUNTED_ROWS[0]

    async def run_once(self, conn: Connection, shards: Iterable[int], observer: Observer) -> None:
        """Of these shards; the counts stop at 10,000 a webhook and place, and lower where many
        webhooks have something waiting."""
        began = time.monotonic()
        try:
            [(*found, places)] = await run(conn, "backlog", [list(shards), self._each])
        finally:
            self.every = max(MEASURE_EVERY_S, (time.monotonic() - began) / MEASURE_SHARE_OF_TIME)
        observer.measured(Backlog(*found))
        least, most = COUNTED_ROWS
        self._each = max(least, min(most, MEASURED_ROWS // max(1, places)))
