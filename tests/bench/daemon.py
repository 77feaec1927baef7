"""`cdc run`, a real process with its defaults, as in production."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import psycopg

from cdc.model import SHARDS
from cdc.postgres.advisory_locks import LOCK_CLASS
from tests.bench.child import Child
from tests.bench.place import Database

READY_WITHIN = 60.0

OWNERS = (
    "select count(distinct l.pid), count(*) from pg_locks l"
    " where l.locktype = 'advisory' and l.classid = %s and l.objid < %s and l.objsubid = 2"
    "   and l.granted"
    "   and l.database = (select oid from pg_database where datname = current_database())"
)


class Daemon(Child):
    """Delivers what is in the database, from the moment it is made.

    settings: beside those without which nothing can be sent to a receiver on this machine.
    """

    def __init__(
        self,
        database: Database,
        log: Path,
        *,
        processes: int = 1,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._database = database
        self._processes = processes
        super().__init__(
            *("-m", "cdc", "run", *(("--processes", str(processes)) if processes > 1 else ())),
            log=log,
            settings={
                "CDC_DATABASE_URL": database.url,
                "CDC_ALLOW_HTTP": "true",
                "CDC_ALLOWED_NETWORKS": "127.0.0.0/8",
                **(settings or {}),
            },
        )
        self.name = "the daemon"

    def ready(self) -> None:
        """Waits until all shards are owned, by as many daemons as there are.

        Raises ProcessFailed.
        """
        deadline = time.monotonic() + READY_WITHIN
        with psycopg.connect(self._database.url, autocommit=True) as conn:
            while True:
                row = conn.execute(OWNERS, (LOCK_CLASS, SHARDS)).fetchone()
                if row == (self._processes, SHARDS):
                    return
                self.check()
                if time.monotonic() > deadline:
                    raise self.failed(f"does not own all shards after {READY_WITHIN:.0f} s")
                time.sleep(0.02)

    def settled(self, seconds: float) -> bool:
        """Waits until nothing is queued any more, at most so long. Returns whether it came."""
        deadline = time.monotonic() + seconds
        with psycopg.connect(self._database.url, autocommit=True) as conn:
            while True:
                row = conn.execute("select exists (select from cdc.queue)").fetchone()
                if row == (False,):
                    return True
                self.check()
                if time.monotonic() > deadline:
                    return False
                time.sleep(0.02)
