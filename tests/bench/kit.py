"""What the tests of the benchmark share."""

from __future__ import annotations

import time
from collections.abc import Callable

WITHIN = 30.0


def until(true: Callable[[], bool]) -> None:
    """Waits until it is. Raises AssertionError when that takes too long."""
    deadline = time.monotonic() + WITHIN
    while not true():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.005)
