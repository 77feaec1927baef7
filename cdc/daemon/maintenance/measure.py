"""Measures what waits, and for how long: for the metrics and for `/readyz`."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from cdc.daemon.store.session import Connection, run
from cdc.telemetry import Backlog, Observer

EVERY = 15.0
"""Seconds between two measurements that cost next to nothing."""
PART = 0.02
"""Share of the time that measuring may take: it becomes rarer where it is dear."""
COUNTED = 100_000
LEAST, MOST = 10, 10_000


@dataclass(slots=True)
class Measure:
    """Keeps the next measurement's cost in bounds by what the last one found."""

    every: float = EVERY
    _each: int = LEAST

    async def run_once(self, conn: Connection, shards: Iterable[int], observer: Observer) -> None:
        """Of these shards; the counts stop at ``MOST`` a webhook and place, and lower where many
        webhooks have something waiting."""
        began = time.monotonic()
        try:
            [(*found, places)] = await run(conn, "backlog", [list(shards), self._each])
        finally:
            self.every = max(EVERY, (time.monotonic() - began) / PART)
        observer.measured(Backlog(*found))
        self._each = max(LEAST, min(MOST, COUNTED // max(1, places)))
