"""Whether a daemon still gets on: for /healthz, systemd, and the parent of several."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

STUCK_AFTER_S = 30.0
"""Seconds without any step forward after which a daemon counts as stuck. What it waits for takes a
few at the most."""

STOOD_STILL_S = 3.0
"""Seconds without progress after which it is reported: sessions begin to end then."""


class Pulse:
    """Alive: a look was answered, or a connection tried, within ``STUCK_AFTER_S``. (A
    database that is down does not justify a restart of the daemon; one that stands still does.)

    steps: counts what has been done.
    """

    def __init__(
        self, steps: Callable[[], int], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._steps = steps
        self._clock = clock
        self._seen = -1
        self._at = clock()

    def alive(self) -> bool:
        now, steps = self._clock(), self._steps()
        if steps != self._seen:
            self._seen, self._at = steps, now
        return now - self._at < STUCK_AFTER_S


async def watch_for_stillness(report: Callable[[float], None], every: float = 1.0) -> None:
    """Reports, until cancelled, for how many seconds this process got no chance to do anything: it
    was stopped, its host suspended or without CPU, or something of ours blocked."""
    # Of the clocks the one that also runs while a machine is suspended.
    last = time.clock_gettime(time.CLOCK_BOOTTIME)
    while True:
        await asyncio.sleep(every)
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        if (still := now - last - every) > STOOD_STILL_S:
            report(still)
        last = now
