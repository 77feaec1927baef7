"""Live counts of the receiver, in memory that its process and the test share."""

from __future__ import annotations

import mmap
from pathlib import Path

_EACH = 3  # numbers per webhook: begun, ended, taken


class Counts:
    """Numbers per webhook: requests begun, ended, and deliveries answered 2xx for the first time.

    Written by one process; another may read at any moment.
    """

    def __init__(self, path: Path, webhooks: int) -> None:
        size = webhooks * _EACH * 8
        with path.open("a+b") as file:
            file.truncate(size)
            self._map = mmap.mmap(file.fileno(), size)
        self._numbers = memoryview(self._map).cast("q")

    def began(self, webhook: int) -> None:
        self._numbers[webhook * _EACH] += 1

    def ended(self, webhook: int) -> None:
        self._numbers[webhook * _EACH + 1] += 1

    def taken(self, webhook: int) -> None:
        self._numbers[webhook * _EACH + 2] += 1

    @property
    def in_flight(self) -> int:
        """Requests that came and were neither answered nor given up."""
        numbers = self._numbers
        return sum(numbers[0::_EACH]) - sum(numbers[1::_EACH])

    @property
    def deliveries(self) -> list[int]:
        """Deliveries answered 2xx, by webhook."""
        return list(self._numbers[2::_EACH])

    @property
    def requests(self) -> int:
        """Requests that came."""
        return sum(self._numbers[0::_EACH])
