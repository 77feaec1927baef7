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

from cdc.daemon.store.session import Connection, execute
from cdc.model import SHARDS
from cdc.postgres.advisory_locks import LOCK_CLASS, MEMBER

DENIED_FOR = 30.0  # seconds; a hand-over takes less
OWNER = f"{socket.gethostname()}:{os.getpid()}"


# Any account can take such a lock; a daemon is one that may act as one (sql/queries/look.sql).
_HOLDERS = b"""
select h.pid, format('process %s (%s, user %s)', h.pid,
                     coalesce(nullif(a.application_name, ''), 'no name'), a.usename), h.shards,
       pg_has_role(a.usesysid, 'cdc_daemon', 'member')
         or has_table_privilege(a.usesysid, 'cdc.shard', 'update'),
       quote_ident(a.usename)
  from (select l.pid, count(*) as shards from pg_locks l
         where l.locktype = 'advisory' and l.classid = $1 and l.objsubid = 2 and l.granted
           and l.objid < $2
           and l.database = (select oid from pg_database where datname = current_database())
         group by l.pid) h
  join pg_stat_activity a on a.pid = h.pid
 order by h.shards desc
"""


class Fleet(NamedTuple):
    """All daemons of this database, as their locks show them.

    daemons: how many there are, oneself included.  owned: shards that are anybody's.
    """

    daemons: int
    owned: frozenset[int]

    @property
    def share(self) -> int:
        """Shards that one daemon takes at most."""
        return ceil(SHARDS / max(1, self.daemons))


class Ownership:
    """The shards of this daemon, as long as its session lives.

    epochs: shard to its epoch.  shards: the same in order, without.
    """

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self.epochs: dict[int, int] = {}
        self.shards: list[int] = []
        self._denied_since: float | None = None

    def owns(self, webhook_id: int) -> bool:
        return webhook_id % SHARDS in self.epochs

    async def join(self) -> None:
        """From here on the others count us, and hand over."""
        await execute(
            self._conn,
            b"select pg_advisory_lock_shared($1::int, $2::int)",
            [LOCK_CLASS, MEMBER],
            "join",
        )

    def may_take(self, fleet: Fleet) -> list[int]:
        """Shards that are nobody's, if our share is not full."""
        full = len(self.epochs) >= fleet.share
        free = [] if full else [shard for shard in range(SHARDS) if shard not in fleet.owned]
        if not free:
            self._denied_since = None
        return free

    def denied(self, free: list[int]) -> int:
        """How many free shards cannot be taken, each time that it has been so for DENIED_FOR; 0 in
        between. Sessions that are no daemons hold their locks."""
        now = time.monotonic()
        self._denied_since = self._denied_since or now
        if now - self._denied_since < DENIED_FOR:
            return 0
        self._denied_since = now
        return len(free)

    async def why_idle(self, fleet: Fleet) -> tuple[str, str]:
        """Why there is no shard for us, and what to do."""
        holders = await execute(self._conn, _HOLDERS, [LOCK_CLASS, MEMBER], "holders")
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

    async def acquire(self, free: list[int], fleet: Fleet) -> dict[int, int]:
        """Takes free shards up to a fair share. Returns the new ones, with the epochs before.

        At each take-over the epoch is raised: whoever owned the shard cannot settle any more. Where
        somebody is settling at this moment the shard is left for the next round: an owner that
        stands still in the middle of it must not make us stand still.
        """
        # Shuffled: daemons that start together do not all reach for the same ones.
        random.shuffle(free)
        locked = await execute(
            self._conn,
            b"select s from unnest($1::int[]) s where pg_try_advisory_lock($2::int, s) limit $3",
            [free, LOCK_CLASS, fleet.share - len(self.epochs)],
            "acquire",
        )
        got = {row[0] for row in locked}
        if not got:
            return {}
        raised = await execute(
            self._conn,
            b"""
            update cdc.shard set epoch = epoch + 1, owner = $2, since = clock_timestamp()
             where id in (select id from cdc.shard where id = any($1::int[])
                           order by id for update skip locked)
             returning id::int, epoch
            """,
            [sorted(got), OWNER],
            "take over",
        )
        epochs: dict[int, int] = {shard: epoch for shard, epoch in raised}
        self.epochs.update(epochs)
        self.shards = sorted(self.epochs)
        await self._unlock(sorted(got - epochs.keys()))
        return {shard: epoch - 1 for shard, epoch in epochs.items()}

    def surplus(self, fleet: Fleet) -> list[int]:
        """Shards beyond a fair share, to be handed over: a daemon has joined."""
        mine = self.shards
        many = len(mine) - fleet.share
        # Spread evenly: webhooks are numbered from 1, and where there are few of them the upper
        # half of the shards would be no work at all.
        return [mine[turn * len(mine) // many] for turn in range(many)]

    async def release(self, shards: list[int]) -> None:
        """Lets go of shards in which nothing is under way any more."""
        for shard in shards:
            self.epochs.pop(shard, None)
        self.shards = sorted(self.epochs)
        await self._unlock(shards)

    async def _unlock(self, shards: list[int]) -> None:
        if shards:
            await execute(
                self._conn,
                b"select pg_advisory_unlock($1::int, s) from unnest($2::int[]) s",
                [LOCK_CLASS, shards],
                "release",
            )
