"""Sessions that wait for each other, step by step."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self

import psycopg

from tests.writers.conformance.database import Connection, Database
from tests.writers.kit import until

LONG = 1.0

BLOCKED = "select cardinality(pg_blocking_pids(%s)) > 0"


class Session:
    """One connection and its thread. steps: what was begun, in order."""

    def __init__(self, conn: Connection) -> None:
        self.conn = conn
        self.pid = conn.info.backend_pid
        self.thread = ThreadPoolExecutor(1)
        self.steps: list[Future[Any]] = []

    def begin(self, sql: str) -> None:
        self.steps.append(self.thread.submit(self.conn.execute, sql.encode()))

    @property
    def idle(self) -> bool:
        return all(step.done() for step in self.steps)


class Scenario:
    """A step that waits for a lock is left waiting, and the next one is taken."""

    def __init__(self, database: Database, *names: str) -> None:
        self.database = database
        self.sessions = {name: Session(database.connect(name)) for name in names}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for session in self.sessions.values():
            self.database.one("select pg_terminate_backend(%s)", session.pid)
            session.thread.shutdown()
            session.conn.close()

    def do(self, name: str, sql: str) -> None:
        session = self.sessions[name]
        session.begin(sql)
        until(lambda: session.idle or self.waits(name), f"{name}: {sql} is done, or waits")

    def ends(self, name: str) -> None:
        """It is done with all that it began, whichever session holds what."""
        session = self.sessions[name]
        until(lambda: session.idle, f"{name} waits for no lock", limit=10)

    def held_up(self, name: str) -> bool:
        """Whether it waits for much longer than for any lock that capture reads with."""
        session = self.sessions[name]
        since = time.monotonic()

        def settled() -> bool:
            nonlocal since
            if not self.waits(name):
                since = time.monotonic()
            return session.idle or time.monotonic() - since > LONG

        until(settled, f"{name} is done, or waits")
        return not session.idle

    def waits(self, name: str) -> bool:
        return bool(self.database.one(BLOCKED, self.sessions[name].pid))

    def errors(self) -> list[str]:
        """Of all sessions, when all have ended what they began."""
        until(lambda: all(s.idle for s in self.sessions.values()), "all is over")
        found = []
        for name, session in self.sessions.items():
            for step in session.steps:
                error = step.exception()
                if isinstance(error, psycopg.Error):
                    found.append(f"{name}: {error.sqlstate} {error.diag.message_primary}")
                elif error is not None:
                    raise error
        return found
