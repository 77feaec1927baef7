"""What the doctor found a moment ago, for all requests of this process."""

from __future__ import annotations

from threading import Lock
from time import monotonic

from cdc.diagnosis import doctor
from cdc.diagnosis.doctor.check import Patient
from cdc.diagnosis.health import HealthProblem

KEPT_S = 10.0


class RecentChecks:
    """Its checks are three quarters of what a status costs, and their verdicts change slowly. One
    request at a time makes them; those that come meanwhile get what was found before, and only the
    first ones of a process wait."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._found: list[HealthProblem] | None = None
        self._until = 0.0

    def failed(self, patient: Patient) -> list[HealthProblem]:
        """As ``doctor.failed``, up to KEPT_S old (and the time that the checks take)."""
        found = self._found
        if found is not None and monotonic() < self._until:
            return found
        if not self._lock.acquire(blocking=found is None):
            return found or []
        try:
            if self._found is None or monotonic() >= self._until:
                self._found = doctor.failed(patient)
                self._until = monotonic() + KEPT_S
            return self._found
        finally:
            self._lock.release()
