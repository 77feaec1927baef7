"""Threads and connections: requests are carried out in a bounded number of threads.

The registry speaks to the database synchronously, for the command line as for this: one registry,
with one set of checks. A request is a few statements of a millisecond, so threads cost less than a
second registry.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import psycopg
import sqlalchemy as sa
from psycopg import errors as pg

from cdc.postgres import connections
from cdc.postgres.connections import ISOLATION, Connection
from cdc.web.problems import Problem

THREADS = 6
MAX_WAITING = 200
"""Requests that wait for a thread; more are refused at once."""

THREADS_EACH = THREADS // 3
"""Of one company, or of a key or session of none: slow requests of two hold up no third. More would
gain one that is alone nothing, as threads take turns at the processor."""
WAITING_EACH = MAX_WAITING // 4

LIMITED = {"statement_timeout": "10s", "lock_timeout": "3s"}
LIMITS = "; ".join(f"set local {name} = '{value}'" for name, value in LIMITED.items())

T = TypeVar("T")


@dataclass(slots=True)
class _Share:
    """Requests of one company or key: how many there are, and their turns."""

    waiting: int = 0
    threads: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(THREADS_EACH))


class RequestPool:
    """THREADS threads with two connections each at most, and two for background work."""

    def __init__(self, url: str) -> None:
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="cdc-serve")
        self._url = url
        self.engine = connections.engine(url, "serve", keep=2 * THREADS + 2, limits=LIMITED)
        self.waiting = 0
        self._shares: dict[str, _Share] = {}

    async def run(self, work: Callable[[], T], whose: str = "") -> T:
        """Runs it in a thread. Raises Problem where too many wait.

        whose: the company or key that it is for (SentKeys); empty: what ends soon.
        """
        if self.waiting >= MAX_WAITING:
            raise Problem("unavailable", "too many requests wait", headers={"Retry-After": "1"})
        self.waiting += 1
        try:
            async with self._shared(whose):
                return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self.waiting -= 1

    @asynccontextmanager
    async def _shared(self, whose: str) -> AsyncIterator[None]:
        """Waits until fewer than THREADS_EACH of the same are at work. Raises Problem."""
        if not whose:
            yield
            return
        share = self._shares.setdefault(whose, _Share())
        if share.waiting >= WAITING_EACH:
            raise Problem(
                "too_many_requests",
                f"{WAITING_EACH} requests of yours wait already",
                headers={"Retry-After": "1"},
            )
        share.waiting += 1
        try:
            async with share.threads:
                yield
        finally:
            share.waiting -= 1
            if not share.waiting:
                self._shares.pop(whose, None)

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """Raises Problem where another request is at the same rows, DatabaseError."""
        with _explained(), self.engine.begin() as conn:
            yield conn

    @contextmanager
    def statements(self) -> Iterator[sa.Connection]:
        """For reading: each statement is a transaction of its own, without BEGIN and COMMIT, which
        are two more round trips. Raises as ``transaction`` does."""
        with _explained(), self.engine.connect() as conn:
            # Behind a pooler our settings hold within a transaction alone.
            driver = connections.driver_of(conn)
            if driver.keeps:
                driver.rollback()  # a new one has begun a transaction, with our settings
                conn.execution_options(isolation_level="AUTOCOMMIT")
            yield conn

    @contextmanager
    def autocommit(self) -> Iterator[Connection]:
        """A connection for what begins its own transactions: reading, and long work."""
        kept = self.engine.raw_connection()
        conn = kept.driver_connection
        assert isinstance(conn, Connection)
        try:
            conn.rollback()  # a new one has begun a transaction, with our settings
            conn.autocommit = True
            with connections.explained():
                yield conn
        finally:
            if conn.closed:
                kept.invalidate()
            else:
                conn.rollback()
                conn.autocommit = False
                conn.isolation_level = ISOLATION
            kept.close()

    @contextmanager
    def apart(self) -> Iterator[Connection]:
        """A session of its own, for what may leave something behind in it."""
        with connections.explained(), connections.connect(self._url, "serve") as conn:
            conn.execute("set statement_timeout = '10s'")
            yield conn

    def close(self) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)
        self.engine.dispose()


@contextmanager
def _explained() -> Iterator[None]:
    with connections.explained():
        try:
            yield
        except sa.exc.DBAPIError as error:
            _refuse_conflict(error.orig)
            raise error.orig or error from None
        except psycopg.Error as error:
            _refuse_conflict(error)
            raise


def _refuse_conflict(error: BaseException | None) -> None:
    if isinstance(error, (pg.LockNotAvailable, pg.UniqueViolation)):
        raise Problem("in_progress", headers={"Retry-After": "1"}) from None
