"""Webhooks that have something to do and no worker: workers cost memory, and they may be many."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heappop, heappush
from itertools import islice

from cdc.daemon.worker import Resting
from cdc.model import Span, shard_of

ROWLESS_ONE_IN = 4
"""One in N of those that are opened may have no new rows, where others have some."""


class Agenda:
    """Who is to be opened next, and what is known of those that are closed.

    A webhook of a shard that is being taken over waits until it is known where its rows begin.
    """

    def __init__(self) -> None:
        self._rows: dict[int, Span] = {}
        self._others: dict[int, None] = {}  # changed, replayed, or a retry is due
        self._resting: dict[int, Resting] = {}
        self._times: list[tuple[float, int]] = []  # when one of these has something to do
        self._arriving: frozenset[int] = frozenset()
        self._reached = 0
        self._early: dict[int, Span | None] = {}  # noted of webhooks that were not reached yet

    def __len__(self) -> int:
        """How many are to be opened."""
        return len(self._rows) + len(self._others)

    # -- what there is to do ----------------------------------------------------------------------

    def note(self, webhook_id: int, where: Span | None) -> None:
        """There is something to do; where: rows lie there."""
        if self._awaited(webhook_id):
            known = self._early.get(webhook_id)
            self._early[webhook_id] = where.joined(known) if where is not None else known
        elif where is not None:
            self._rows[webhook_id] = where.joined(self._rows.get(webhook_id))
            self._others.pop(webhook_id, None)
        elif webhook_id not in self._rows:
            self._others[webhook_id] = None

    def take(self, most: int) -> dict[int, Span | None]:
        """Those to open now, the first that came; where they have new rows, if any."""
        others = list(islice(self._others, max(most // ROWLESS_ONE_IN, most - len(self._rows))))
        rows = list(islice(self._rows, most - len(others)))
        taken: dict[int, Span | None] = {
            webhook_id: self._rows.pop(webhook_id) for webhook_id in rows
        }
        for webhook_id in others:
            del self._others[webhook_id]
            taken[webhook_id] = None
        return taken

    def claim(self, webhook_id: int) -> tuple[bool, Span | None]:
        """Its worker opens: whether something was noted since it was taken, and where rows lie."""
        noted = webhook_id in self._rows or webhook_id in self._others
        self._others.pop(webhook_id, None)
        return noted, self._rows.pop(webhook_id, None)

    def knows(self, webhook_id: int, delivery_id: int) -> bool:
        """Whether a waiting row will be read."""
        if self._awaited(webhook_id):
            return True
        resting = self._resting.get(webhook_id)
        spans = (self._rows.get(webhook_id), None if resting is None else resting.lane.unread)
        return any(span is not None and span.first <= delivery_id <= span.last for span in spans)

    # -- closed workers --------------------------------------------------------------------------

    def rest(self, webhook_id: int, resting: Resting) -> None:
        """Its worker was closed."""
        self._resting[webhook_id] = resting
        if resting.lane.wake is not None:
            heappush(self._times, (resting.lane.wake, webhook_id))

    def rested(self, webhook_id: int) -> Resting | None:
        """What its last worker left; it is opened again."""
        return self._resting.pop(webhook_id, None)

    def wake(self, now: float, most: int) -> float | None:
        """Notes those whose time has come, up to a limit. Returns when the next one is due."""
        times = self._times
        while times:
            due, webhook_id = times[0]
            resting = self._resting.get(webhook_id)
            if resting is not None and resting.lane.wake == due:
                if due > now or not most:
                    return due
                most -= 1
                self.note(webhook_id, resting.lane.unread)
            heappop(times)
        return None

    # -- shards come and go -----------------------------------------------------------------------

    def _awaited(self, webhook_id: int) -> bool:
        return webhook_id > self._reached and shard_of(webhook_id) in self._arriving

    def arrive(self, shards: Iterable[int]) -> None:
        """Shards were taken over; it is to be found out what their webhooks have to do."""
        self._arriving = frozenset(shards)
        self._reached = -1

    def reached(self, webhook_id: int | None) -> None:
        """It is known up to this one, of all if None."""
        if webhook_id is None:
            self._arriving = frozenset()
        else:
            self._reached = webhook_id
        ready = [early for early in self._early if not self._awaited(early)]
        for early in ready:
            self.note(early, self._early.pop(early))

    def drop(self, shards: set[int] | None) -> None:
        """Forgets the webhooks of these shards (None: all)."""
        for kept in (self._rows, self._others, self._resting, self._early):
            for webhook_id in [w for w in kept if shards is None or shard_of(w) in shards]:
                del kept[webhook_id]
        self._arriving = frozenset() if shards is None else self._arriving - shards
