"""What was read a moment ago, for all requests of this process."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from time import monotonic
from typing import Generic, TypeVar

KEPT_S = 10.0
"""Seconds that it is kept at most."""
SHARE = 0.02
"""Of the time, that is spent on making it again and again, however many ask."""

T = TypeVar("T")


class Recent(Generic[T]):
    """For what costs much to read and changes slowly: the state of the installation, the doctor's
    checks. It is kept 50 times as long as it took to make. One request at a time makes it; those
    that come meanwhile get what was found before, and only the first ones of a process wait."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._found: T | None = None
        self._until = 0.0

    def __call__(self, make: Callable[[], T]) -> T:
        """What was made a moment ago, or is made now."""
        found = self._found
        if found is not None and monotonic() < self._until:
            return found
        if not self._lock.acquire(blocking=found is None):
            assert found is not None
            return found
        try:
            if self._found is None or monotonic() >= self._until:
                begun = monotonic()
                self._found = made = make()
                ended = monotonic()
                self._until = ended + min(KEPT_S, (ended - begun) / SHARE)
                return made
            return self._found
        finally:
            self._lock.release()
