"""What this daemon may do just now: the shards it owns, their epochs, the newest look's snapshot.

The app makes one; the watcher writes it; dispatcher, pipeline, client and settler read it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from cdc.model import shard_of

OWNER_IDLE_S = 3.0
"""After this time without a statement the server ends the session that owns shards."""
SEND_WITHIN_S = OWNER_IDLE_S - 1.0
"""Without a look answered as recently as this nothing is sent: the session's idle timeout might
have let another daemon take over. Less than that by a margin for the request to leave."""


class Snapshot(NamedTuple):
    """A pg_snapshot, taken apart: ids at or beyond xmax and those running were not visible."""

    text: str
    xmin: int
    xmax: int
    running: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> Snapshot:
        """From ``xmin:xmax:id,id,...``."""
        xmin, xmax, running = text.split(":")
        return cls(text, int(xmin), int(xmax), tuple(int(x) for x in running.split(",") if x))


class Lease:
    """Shards by the database's word, from one connection of the watcher to its end, and the next.

    epochs: shard owned to its epoch.  shards: the same in order, without.
    """

    def __init__(self) -> None:
        self.epochs: dict[int, int] = {}
        self.shards: list[int] = []
        # Shards that were ours: what was sent then may still be recorded as long as no other daemon
        # has raised the epoch (the fence decides), after a lost connection as after a hand-over.
        self._before: dict[int, int] = {}
        self._snapshot: Snapshot | None = None
        self._answered_at: float | None = None

    # -- read -------------------------------------------------------------------------------------

    def may_send(self) -> bool:
        """Whether a look was answered so recently that no other daemon can have taken over."""
        return self._answered_at is not None and boottime() - self._answered_at < SEND_WITHIN_S

    def owns(self, webhook_id: int) -> bool:
        return shard_of(webhook_id) in self.epochs

    def epoch(self, shard: int) -> int | None:
        """The epoch in which its deliveries are recorded; None: it was never ours."""
        return self.epochs.get(shard, self._before.get(shard))

    @property
    def snapshot(self) -> Snapshot:
        """The newest look's. There is one while the watcher is connected."""
        assert self._snapshot is not None
        return self._snapshot

    # -- written by the watcher -------------------------------------------------------------------

    def answered(self, sent: float, snapshot: Snapshot | None = None) -> None:
        """The database has answered what was sent at ``boottime()`` ``sent``."""
        self._answered_at = sent
        self._snapshot = snapshot or self._snapshot

    def took(self, epochs: Mapping[int, int]) -> set[int]:
        """Shards have become ours, in these new epochs. Returns those of them that another daemon
        has owned since we did: what of theirs is not recorded is not ours any more."""
        lost = {s for s, epoch in epochs.items() if self._before.get(s, epoch - 1) != epoch - 1}
        self.epochs.update(epochs)
        self.shards = sorted(self.epochs)
        return lost

    def released(self, shards: Iterable[int]) -> None:
        """Shards were handed over."""
        for shard in shards:
            self._before[shard] = self.epochs.pop(shard)
        self.shards = sorted(self.epochs)

    def lost(self) -> None:
        """The connection that owned them has ended."""
        self.released(self.shards)
        self._snapshot = self._answered_at = None


def boottime() -> float:
    """Seconds on a clock that also runs while the machine or the process is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
