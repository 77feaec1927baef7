"""What the tests of unharmed writers share."""

from __future__ import annotations

import time
from collections.abc import Callable

LIMIT = 30.0


def until(holds: Callable[[], bool], what: str, limit: float = LIMIT) -> None:
    """Waits until a condition holds that is not signalled."""
    deadline = time.monotonic() + limit
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"within {limit:g} s not: {what}")
        time.sleep(0.005)
