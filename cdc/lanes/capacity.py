"""How much the lanes of a daemon hold together, in places."""

from __future__ import annotations

import sys


class Capacity:
    """Places for deliveries, shared by all lanes of a daemon.

    A delivery takes as many as ``Delivery.places`` says: windows and rooms are bounds of memory,
    and keys may be long.

    limit: places there are.  taken: those that lanes have taken.
    """

    __slots__ = ("limit", "taken")

    def __init__(self, limit: int = sys.maxsize) -> None:
        self.limit = limit
        self.taken = 0

    @property
    def left(self) -> int:
        """Places left; less than none, where lanes needed more to go on."""
        return self.limit - self.taken
