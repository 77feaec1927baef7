"""The daemon that owns a webhook: is there one, and has it stopped sending?"""

from __future__ import annotations

import time
from enum import Enum
from typing import Any

import psycopg

from cdc.model import SHARDS
from cdc.postgres.advisory_locks import LOCK_CLASS
from cdc.postgres.connections import connect, explained

POLL = 0.05


class Stopped(Enum):
    """How waiting for the owner ended.

    CONFIRMED: the owner sends nothing more.
    NOBODY:    no daemon owns the webhook, so nothing is sent anyway.
    LATE:      it has not confirmed in time: an attempt is still in flight, or it is cut off.
    """

    CONFIRMED = "confirmed"
    NOBODY = "nobody"
    LATE = "late"


_SQL = """
select coalesce((select l.version from cdc.lane l where l.webhook_id = %(webhook)s), 0),
       exists (select from pg_locks
                where locktype = 'advisory' and classid = %(class)s and objid = %(shard)s
                  and objsubid = 2 and granted
                  and database = (select oid from pg_database where datname = current_database()))
"""


def wait_until_stopped(url: str, webhook_id: int, version: int, timeout: float) -> Stopped:
    """Waits until the owner acts on this version of a paused webhook.

    timeout: seconds to wait at most.
    """
    deadline = time.monotonic() + timeout
    with explained(), connect(url) as conn:
        while True:
            known, owned = _look(conn, webhook_id)
            if not owned:
                return Stopped.NOBODY
            if known >= version:
                return Stopped.CONFIRMED
            if time.monotonic() >= deadline:
                return Stopped.LATE
            time.sleep(POLL)


def _look(conn: psycopg.Connection[Any], webhook_id: int) -> tuple[int, bool]:
    ask = {"webhook": webhook_id, "class": LOCK_CLASS, "shard": webhook_id % SHARDS}
    row = conn.execute(_SQL, ask).fetchone()
    assert row is not None
    return int(row[0]), bool(row[1])
