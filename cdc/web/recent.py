"""What the doctor found a moment ago, for all requests of this process."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from time import monotonic
from typing import Generic, TypeVar

from cdc.diagnosis.doctor.check import Patient

KEPT_S = 10.0

T = TypeVar("T")


class Recent(Generic[T]):
    """The doctor's checks are three quarters of what a status costs, and their verdicts change
    slowly. One request at a time makes them; those that come meanwhile get what was found before,
    and only the first ones of a process wait."""

    def __init__(self, make: Callable[[Patient], T]) -> None:
        self._make = make
        self._lock = Lock()
        self._found: T | None = None
        self._until = 0.0

    def __call__(self, patient: Patient) -> T:
        """What was made up to KEPT_S ago (and the time that it takes)."""
        found = self._found
        if found is not None and monotonic() < self._until:
            return found
        if not self._lock.acquire(blocking=found is None):
            assert found is not None
            return found
        try:
            if self._found is None or monotonic() >= self._until:
                self._found = self._make(patient)
                self._until = monotonic() + KEPT_S
            return self._found
        finally:
            self._lock.release()
