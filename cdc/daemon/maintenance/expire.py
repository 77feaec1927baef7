"""Ends what was held (its webhook paused or suspended) or dead for too long; never silently. And
forgets what capture has kept of deleted parents.

Some rows at a time, each time a transaction of its own: no session waits for it, and a daemon
that is stopped in the middle leaves the rest to the next one. Several may be at it together.
Each statement goes on behind the rows of the one before: while a session holds an old snapshot, the
indexes keep an entry of each row that has expired.
"""

from __future__ import annotations

import time

import psycopg

from cdc.daemon.store.session import Connection, run
from cdc.settings.kinds import DAY
from cdc.telemetry import Observer

EXPIRE_BATCH_ROWS = 1000
EXPIRE_TURN_S = 3.0
"""The other jobs have their turn after that; late capture is one of them."""


async def run_once(
    conn: Connection, held_days: float, dead_days: float, observer: Observer
) -> bool:
    """Expires what is over its time. Returns whether that was all, or the turn is over."""
    turn = _Turn(conn, time.monotonic() + EXPIRE_TURN_S)
    held = 0
    for (webhook_id,) in await run(conn, "expire_which", [held_days * DAY]):
        try:
            held += await turn.queued(webhook_id, held_days * DAY)
            held += await turn.retried(webhook_id, held_days * DAY)
        except psycopg.Error as error:
            # What is odd or locked there keeps nothing else from expiring.
            observer.care_failed(f"expire webhook {webhook_id}", error)
    observer.expired("held", held)
    observer.expired("dead", await turn.dead(dead_days * DAY))
    await turn.gone()
    return not turn.over


class _Turn:
    """A connection, until the time is over."""

    def __init__(self, conn: Connection, until: float) -> None:
        self._conn, self._until = conn, until

    @property
    def over(self) -> bool:
        return time.monotonic() >= self._until

    async def queued(self, webhook_id: int, seconds: float) -> int:
        total: int = 0
        after = -(2**63)
        while not self.over:
            [(expired, last)] = await run(
                self._conn, "expire_queue", [webhook_id, seconds, after, EXPIRE_BATCH_ROWS]
            )
            total += expired
            if expired < EXPIRE_BATCH_ROWS:
                break
            after = last
        return total

    async def retried(self, webhook_id: int, seconds: float) -> int:
        total: int = 0
        after = -(2**63)
        while not self.over:
            async with self._conn.transaction():
                [(last, expired, events, keys)] = await run(
                    self._conn, "expire_retry", [webhook_id, seconds, after, EXPIRE_BATCH_ROWS]
                )
                if events:
                    await run(self._conn, "promote", [[webhook_id] * len(events), events, keys])
            total += expired
            if last is None:
                break
            after = last
        return total

    async def dead(self, seconds: float) -> int:
        total: int = 0
        since = "-infinity"
        while not self.over:
            [(expired, last)] = await run(
                self._conn, "expire_dead", [seconds, since, EXPIRE_BATCH_ROWS]
            )
            total += expired
            if expired < EXPIRE_BATCH_ROWS:
                break
            since = last
        return total

    async def gone(self) -> None:
        since = "0"
        forgotten = EXPIRE_BATCH_ROWS
        while forgotten == EXPIRE_BATCH_ROWS and not self.over:
            [(forgotten, since)] = await run(self._conn, "forget_gone", [since, EXPIRE_BATCH_ROWS])
