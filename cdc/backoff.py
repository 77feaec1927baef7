"""Pauses of a loop that tries again: each is twice as long as the one before, up to a limit."""

from __future__ import annotations


class Backoff:
    """``pause`` is the one to make next, in seconds; ``double()`` after it, ``reset()`` when all is
    well again."""

    __slots__ = ("_first_s", "_longest_s", "pause")

    def __init__(self, first_s: float, longest_s: float) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self.pause = first_s

    def double(self) -> None:
        self.pause = min(self.pause * 2, self._longest_s)

    def reset(self) -> None:
        self.pause = self._first_s
