"""Who owns which shards: session advisory locks, and an epoch per shard that fences off the past.

A webhook belongs to shard ``id % 64``. All daemons hold one shared lock beside, so that each knows
their number.
"""

from __future__ import annotations

import os
import random
import socket
import time
from math import ceil
from typing import NamedTuple

from cdc.daemon.lease import Lease
from cdc.daemon.store.session import Connection, run
from cdc.model import SHARDS
from cdc.postgres.advisory_locks import LOCK_CLASS, MEMBER, READS_DELETED

DENIED_LOGGED_AFTER_S = 30.0  # seconds; a hand-over takes less
OWNER_NAME = f"{socket.gethostname()}:{os.getpid()}"


class Fleet(NamedTuple):
    """All daemons of this database, as their locks show them.

    daemons: how many there are, oneself included.  owned: shards that have an owner.
    """

    daemons: int
    owned: frozenset[int]

    @property
    def share(self) -> int:
        """Shards that one daemon takes at most."""
        return ceil(SHARDS / max(1, self.daemons))


class Ownership:
    """Takes and releases shards for a lease, as long as its session lives."""

    def __init__(self, conn: Connection, lease: Lease) -> None:
        self._conn = conn
        self._lease = lease
        self._denied_since: float | None = None

    async def join(self) -> None:
        """From here on the others count us, and hand over."""
        await run(self._conn, "join", [LOCK_CLASS, [READS_DELETED, MEMBER]])

    def may_take(self, fleet: Fleet) -> list[int]:
        """Shards without an owner, if our share is not full."""
        full = len(self._lease.shards) >= fleet.share
        free = [] if full else [shard for shard in range(SHARDS) if shard not in fleet.owned]
        if not free:
            self._denied_since = None
        return free

    def denied(self, free: list[int]) -> int:
        """How many free shards cannot be taken, each time that it has been so for a while; 0 in
        between. Sessions of other programs hold their locks."""
        now = time.monotonic()
        self._denied_since = self._denied_since or now
        if now - self._denied_since < DENIED_LOGGED_AFTER_S:
            return 0
        self._denied_since = now
        return len(free)

    async def why_idle(self, fleet: Fleet) -> tuple[str, str]:
        """Why there is no shard for us, and what to do."""
        holders = await run(self._conn, "shard_holders", [LOCK_CLASS, MEMBER])
        strangers = [row for row in holders if not row[3]]
        if strangers:
            pid, who, shards, _, user = strangers[0]
            return (
                f"{who} holds the locks of {shards} shards without being a daemon",
                f"If it is one: grant cdc_daemon to {user}. Otherwise: select "
                f"pg_terminate_backend({pid})",
            )
        if fleet.daemons > SHARDS:
            return (
                f"{fleet.daemons} daemons share {SHARDS} shards, and each shard has one owner",
                f"Run {SHARDS} daemons at most.",
            )
        if len(fleet.owned) < SHARDS:
            return (
                "shards are free, and their rows in cdc.shard are locked",
                "`cdc doctor` names the session (recording).",
            )
        who = ", ".join(row[1] for row in holders[:3])
        return (
            f"{who} own all shards, and have not handed over any",
            "They do so within seconds unless they are stuck, or cannot record what they have "
            "sent: read their logs.",
        )

    async def acquire(self, free: list[int], fleet: Fleet) -> tuple[list[int], set[int]]:
        """Takes free shards up to a fair share. Returns the new ones, and those of them that
        another daemon has owned since we did.

        At each take-over the epoch is raised: the owner before cannot settle any more. Where it is
        settling at this moment the shard is left for the next round: an owner that stands still in
        the middle of it must not make us stand still.
        """
        # Shuffled: daemons that start together do not all reach for the same ones.
        random.shuffle(free)
        most = fleet.share - len(self._lease.shards)
        locked = {row[0] for row in await run(self._conn, "shard_lock", [free, LOCK_CLASS, most])}
        if not locked:
            return [], set()
        raised: dict[int, int] = dict(
            await run(self._conn, "shard_take", [sorted(locked), OWNER_NAME])
        )
        lost = self._lease.took(raised)
        await self._unlock(sorted(locked - raised.keys()))
        return sorted(raised), lost

    def surplus(self, fleet: Fleet) -> list[int]:
        """Shards beyond a fair share, to be handed over: a daemon has joined."""
        mine = self._lease.shards
        many = len(mine) - fleet.share
        # Spread evenly: webhooks are numbered from 1, and where there are few of them the upper
        # half of the shards would be no work at all.
        return [mine[turn * len(mine) // many] for turn in range(many)]

    async def release(self, shards: list[int]) -> None:
        """Releases shards in which nothing is in flight any more."""
        self._lease.released(shards)
        await self._unlock(shards)

    async def _unlock(self, shards: list[int]) -> None:
        if shards:
            await run(self._conn, "shard_unlock", [LOCK_CLASS, shards])
