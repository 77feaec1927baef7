"""What cannot be recorded just now: set aside, so that it stops nothing else, and tried again."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass

from cdc.backoff import Backoff
from cdc.daemon.store.records import Record, Settled, Unit, unit_of

RETRY_FIRST_S, RETRY_LONGEST_S = 0.5, 30.0
"""Pauses between two tries to record what is set aside."""


@dataclass(slots=True)
class _Waiting:
    records: list[Record]
    due: float
    backoff: Backoff


class Aside:
    """Records by unit, each with the time of its next try.

    attempts: how many of them are attempts, by webhook.
    """

    def __init__(self) -> None:
        self._units: dict[Unit, _Waiting] = {}
        self.attempts: Counter[int] = Counter()

    def __bool__(self) -> bool:
        return bool(self._units)

    def takes(self, record: Record) -> bool:
        """Takes a record whose unit is set aside: it must not be written before those."""
        waiting = self._units.get(unit_of(record))
        if waiting is None:
            return False
        waiting.records.append(record)
        self._count(record, 1)
        return True

    def put(self, records: list[Record]) -> None:
        """Sets records aside; those that are there already stay there."""
        now = time.monotonic()
        for record in records:
            unit = unit_of(record)
            waiting = self._units.get(unit)
            if waiting is None:
                backoff = Backoff(RETRY_FIRST_S, RETRY_LONGEST_S)
                waiting = self._units[unit] = _Waiting([], now + backoff.pause, backoff)
            if all(record is not other for other in waiting.records):
                waiting.records.append(record)
                self._count(record, 1)

    def due(self, most: int) -> list[Record]:
        """Records to try again now. They stay here until ``remove``; the next try comes after twice
        the pause."""
        now = time.monotonic()
        found: list[Record] = []
        for waiting in self._units.values():
            if waiting.due <= now and len(found) < most:
                found += waiting.records
                waiting.backoff.double()
                waiting.due = now + waiting.backoff.pause
        return found

    def due_in(self) -> float | None:
        """Seconds until the next try."""
        if not self._units:
            return None
        return max(0.0, min(w.due for w in self._units.values()) - time.monotonic())

    def remove(self, records: list[Record]) -> None:
        """They are recorded, or not to be any more."""
        gone = set(map(id, records))
        for unit in dict.fromkeys(map(unit_of, records)):
            if (waiting := self._units.get(unit)) is None:
                continue
            for record in waiting.records:
                if id(record) in gone:
                    self._count(record, -1)
            waiting.records = [r for r in waiting.records if id(r) not in gone]
            waiting.due = 0.0
            waiting.backoff.reset()
            if not waiting.records:
                del self._units[unit]

    def all(self) -> list[Record]:
        return [record for waiting in self._units.values() for record in waiting.records]

    def _count(self, record: Record, step: int) -> None:
        if isinstance(record, Settled):
            webhook_id = record.lane.webhook_id
            self.attempts[webhook_id] += step
            if not self.attempts[webhook_id]:
                del self.attempts[webhook_id]
