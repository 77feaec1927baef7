"""The same line, repeated, says nothing new and fills a disk while the database is down."""

from __future__ import annotations

import time
from collections.abc import Callable

REPEAT_FIRST_S, REPEAT_LONGEST_S = 10.0, 600.0
"""Seconds between two log lines of the same: doubled each time."""
_KNOWN_LINES = 100  # different lines that are remembered


class Repeats:
    """Of equal lines the first, then one at growing intervals, and how many were left out.

    first: seconds from the first to the second; 0 logs all of them.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, *, first: float = REPEAT_FIRST_S
    ) -> None:
        self._clock = clock
        self._first = first
        # Next time to log, the interval after that, and how many were left out since.
        self._lines: dict[tuple[str, ...], tuple[float, float, int]] = {}

    def worth(self, *line: str) -> int | None:
        """None: not now. Otherwise how many equal ones were left out before it."""
        now = self._clock()
        due, pause, left_out = self._lines.get(line, (now, self._first, 0))
        if now < due:
            self._lines[line] = due, pause, left_out + 1
            return None
        if len(self._lines) >= _KNOWN_LINES:
            self._lines.clear()
        self._lines[line] = now + pause, min(pause * 2, REPEAT_LONGEST_S), 0
        return left_out

    def forget(self) -> None:
        """All is well again: what comes next is news."""
        self._lines.clear()
