"""Tasks: replays, carried out by any process of `cdc serve`, in steps.

One whose process ended goes on in another. Tests of webhooks are sent by daemons
(``webhooks/trials.py``).
"""

from __future__ import annotations

import threading
import zlib
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from cdc.errors import CdcError
from cdc.postgres.advisory_locks import TASK_LOCKS
from cdc.postgres.connections import Connection
from cdc.schema.tables import task
from cdc.web import idempotency, sessions
from cdc.web.api.deliveries import wanted
from cdc.web.keys import NOW
from cdc.web.pool import RequestPool
from cdc.webhooks import trials
from cdc.webhooks.audit import Actor
from cdc.webhooks.replay import Replay

TASK_BATCH_DELIVERIES = 500
TASKS_KEPT = sa.text("interval '30 days'")
"""How long a task that ended can be looked at."""

_OPEN = (
    "select id from cdc.task where state in ('waiting', 'running') and kind = 'replay'"
    " order by created_at limit 20"
)
_BEGIN = (
    "update cdc.task set state = 'running', done = 0"
    " where id = %s and state in ('waiting', 'running') returning actor, request, created_at"
)
_STEP = (
    "update cdc.task set total = %s, done = done + %s, changed = changed + %s"
    " where id = %s and state = 'running' returning true"
)
_END = (
    "update cdc.task set state = %s, error = %s, ended_at = clock_timestamp()"
    " where id = %s and state = 'running'"
)


class TaskWorker:
    """Carries out what waits. Calls are made from one thread at a time."""

    def __init__(self, pool: RequestPool) -> None:
        self._pool = pool
        self._stop = threading.Event()

    def stop(self) -> None:
        """Ends the work after the step that is being done."""
        self._stop.set()

    def run_once(self) -> int:
        """Carries out what is there, and no other process is at. Returns how many."""
        done = 0
        with self._pool.transaction() as bound:
            trials.give_up(bound)
        with self._pool.autocommit() as conn:
            for (number,) in conn.execute(_OPEN).fetchall():
                lock = [TASK_LOCKS, zlib.crc32(number.bytes) - 2**31]
                row = conn.execute("select pg_try_advisory_lock(%s, %s)", lock).fetchone()
                if self._stop.is_set() or row != (True,):
                    continue
                try:
                    self._carry_out(conn, number)
                    done += 1
                finally:
                    conn.execute("select pg_advisory_unlock(%s, %s)", lock)
        return done

    def forget_old(self) -> None:
        with self._pool.transaction() as conn:
            idempotency.forget_old(conn)
            sessions.forget_old(conn)
            conn.execute(sa.delete(task).where(task.c.ended_at < NOW - TASKS_KEPT))

    def _carry_out(self, conn: Connection, number: UUID) -> None:
        row = conn.execute(_BEGIN, [number]).fetchone()
        if row is None:
            return
        actor, request, created_at = row
        try:
            self._replay(conn, number, actor, request, created_at)
        except CdcError as error:
            conn.execute(_END, ["failed", error.message, number])

    def _replay(
        self, conn: Connection, number: UUID, actor: str, request: dict[str, Any], before: Any
    ) -> None:
        by = Actor(actor, request["source"], request["request"])
        # A connection of its own: the replay's reads statements of another form.
        with self._pool.autocommit() as other, Replay(other, by) as replay:
            selection = replay.find(wanted(request, before))
            if conn.execute(_STEP, [selection.total, 0, 0, number]).fetchone() is None:
                return  # cancelled
            for looked, changed in replay.run(
                selection, TASK_BATCH_DELIVERIES, new_id=request["new_id"]
            ):
                going = conn.execute(_STEP, [selection.total, looked, changed, number]).fetchone()
                if going is None or self._stop.is_set():
                    return  # cancelled, or left to another process
        conn.execute(_END, ["done", None, number])
