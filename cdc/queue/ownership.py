"""Who owns which shards: session advisory locks, and an epoch per shard that fences off the past.

A webhook belongs to shard ``id % 64``. All daemons hold one shared lock beside, so that each knows
their number.
"""

from __future__ import annotations

import os
import random
import socket
from math import ceil

from cdc.queue.session import Connection, execute

SHARDS = 64
LOCK_CLASS = 0x434443  # "CDC"
MEMBER = 64  # held shared by every daemon
OWNER = f"{socket.gethostname()}:{os.getpid()}"


def shard_of(webhook_id: int) -> int:
    return webhook_id % SHARDS


class Ownership:
    """The shards of this daemon, as long as its session lives."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self.epochs: dict[int, int] = {}

    def owns(self, webhook_id: int) -> bool:
        return webhook_id % SHARDS in self.epochs

    async def join(self) -> None:
        await execute(
            self._conn,
            b"select pg_advisory_lock_shared($1::int, $2::int)",
            [LOCK_CLASS, MEMBER],
            "join",
        )

    async def fleet(self) -> tuple[int, set[int]]:
        """How many daemons there are, and which shards are owned by anybody."""
        [(daemons, owned)] = await execute(
            self._conn,
            b"""
            select count(*) filter (where objid = $2),
                   array_agg(objid::int) filter (where objid < $2)
              from pg_locks
             where locktype = 'advisory' and classid = $1 and objsubid = 2 and granted
               and database = (select oid from pg_database where datname = current_database())
            """,
            [LOCK_CLASS, MEMBER],
            "fleet",
        )
        return max(1, daemons), set(owned or ())

    async def acquire(self) -> dict[int, int]:
        """Takes free shards up to a fair share. Returns the new ones, with the epochs before.

        At each take-over the epoch is raised: whoever owned the shard cannot settle any more.
        """
        daemons, owned = await self.fleet()
        room = ceil(SHARDS / daemons) - len(self.epochs)
        free = [shard for shard in range(SHARDS) if shard not in owned]
        if room <= 0 or not free:
            return {}
        # Shuffled: daemons that start together do not all reach for the same ones.
        random.shuffle(free)
        locked = await execute(
            self._conn,
            b"select s from unnest($1::int[]) s where pg_try_advisory_lock($2::int, s) limit $3",
            [free, LOCK_CLASS, room],
            "acquire",
        )
        got = sorted(row[0] for row in locked)
        if not got:
            return {}
        raised = await execute(
            self._conn,
            b"""
            update cdc.shard set epoch = epoch + 1, owner = $2, since = clock_timestamp()
             where id = any($1::int[]) returning id::int, epoch
            """,
            [got, OWNER],
            "take over",
        )
        epochs = {shard: epoch for shard, epoch in raised}
        self.epochs.update(epochs)
        return {shard: epoch - 1 for shard, epoch in epochs.items()}

    async def surplus(self) -> list[int]:
        """Shards beyond a fair share, to be handed over: a daemon has joined."""
        daemons, _ = await self.fleet()
        mine = sorted(self.epochs)
        many = len(mine) - ceil(SHARDS / daemons)
        # Spread evenly: webhooks are numbered from 1, and where there are few of them the upper
        # half of the shards would be no work at all.
        return [mine[turn * len(mine) // many] for turn in range(many)]

    async def release(self, shards: list[int]) -> None:
        """Lets go of shards in which nothing is under way any more."""
        for shard in shards:
            self.epochs.pop(shard, None)
        await execute(
            self._conn,
            b"select pg_advisory_unlock($1::int, s) from unnest($2::int[]) s",
            [LOCK_CLASS, shards],
            "release",
        )
