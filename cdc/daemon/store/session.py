"""Sessions of the daemon with the database: how they are set up, and how rows become deliveries."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from sys import getsizeof
from typing import Any, NoReturn
from weakref import WeakSet

import psycopg
from psycopg import AsyncRawCursor, pq
from psycopg import errors as pg
from psycopg.adapt import Loader
from psycopg.types.numeric import Int8BinaryLoader

from cdc.daemon.lease import OWNER_IDLE_S
from cdc.errors import DatabaseError
from cdc.model import ACTION_NAMES, PLACE, UNFIT, Delivery, Layout
from cdc.postgres import connections, loaders, sqlfiles
from cdc.postgres.session_settings import PLANS, RESULTS, setting

Connection = psycopg.AsyncConnection[tuple[Any, ...]]
Row = tuple[Any, ...]

XID8_OID = 5069  # pg_type.oid of xid8, fixed since PostgreSQL 13
UUID_OID = 2950
# A statement of ours that takes longer is lost: the connection is cut, or the server stuck.
ANSWER_WITHIN_S = 5.0


_opened: WeakSet[Connection] = WeakSet()


class _UuidAsText(Loader):
    """A webhook-id is only ever passed on, so it is text throughout."""

    format = pq.Format.BINARY

    def load(self, data: Any) -> str:
        digits = bytes(data).hex()
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


# Noticed within seconds when the other end is gone: both sides probe, neither waits for hours.
_CLIENT_KEEPALIVE = {
    "keepalives": 1,
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "keepalives_count": 3,
    "tcp_user_timeout": 5000,
}

LOCK_WITHIN_S = 2.0
# Noticed on the server's side, too: a daemon that stands still or is cut off must not keep a row
# locked, because others would wait for it.
_SESSION = {
    **RESULTS,
    **PLANS,
    "default_transaction_isolation": "read committed",
    # Settling may lose progress in a crash, never a delivery: what is not recorded is sent again.
    "synchronous_commit": "off",
    "idle_in_transaction_session_timeout": "2s",
    "idle_session_timeout": "0",
    "tcp_keepalives_idle": "2",
    "tcp_keepalives_interval": "1",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "5000",
    # What is given up here ends in the server, too: it fails before its answer is due, and where
    # there is no client any more, the server notices within a second.
    "statement_timeout": "4s",
    "client_connection_check_interval": "1s",
}
# The session that owns shards lets go of them when its daemon stands still. Later than the one that
# settles: the next owner finds its rows unlocked.
_OWNER_SESSION = {**_SESSION, "idle_session_timeout": f"{OWNER_IDLE_S:.0f}s"}


async def open_session(
    url: str, role: str, *, owning: bool = False, lock_within: float = LOCK_WITHIN_S
) -> Connection:
    """A connection of the daemon.

    lock_within: seconds that it waits for a lock.

    Raises DatabaseError where it leads to a pooler; psycopg's errors pass through.
    """
    conn = await connections.connect_async(
        url, role, cursor_factory=AsyncRawCursor, **_CLIENT_KEEPALIVE
    )
    _opened.add(conn)
    conn.prepare_threshold = 0
    loaders.register(conn.adapters)
    conn.adapters.register_loader(XID8_OID, Int8BinaryLoader)
    conn.adapters.register_loader(UUID_OID, _UuidAsText)
    wanted = {
        **(_OWNER_SESSION if owning else _SESSION),
        "lock_timeout": f"{lock_within * 1000:.0f}ms",
    }
    try:
        with answering(conn, "the session's settings"):
            # First of all: a transaction pooler would hand a session that has our settings to the
            # next one who asks, and that is the suite.
            await _refuse_pooler(conn)
            await conn.execute(setting(wanted, local=False).encode(), prepare=False)
    except BaseException:
        await conn.close()
        raise
    return conn


def open_sessions() -> int:
    """How many of them are open in this process."""
    return sum(not conn.closed for conn in _opened)


async def _refuse_pooler(conn: Connection) -> None:
    """Session locks and LISTEN need a session; a transaction pooler gives a new one each time."""
    cursor = await conn.execute(sqlfiles.query("backend_pid").encode(), prepare=False)
    row = await cursor.fetchone()
    # A pooler makes up the process id that it reports to its clients.
    if row is None or row[0] != conn.info.backend_pid:
        raise DatabaseError(
            "there is a connection pooler between the daemon and PostgreSQL: LISTEN and session "
            "locks would break",
            "Give CDC_DATABASE_URL the database's direct address.",
        )


async def run(conn: Connection, name: str, params: Sequence[Any] = ()) -> list[Row]:
    """Runs a query of ``sql/queries`` and returns its rows.

    Raises psycopg.OperationalError when no answer comes in time, as for a lost connection.
    """
    return await execute(conn, sqlfiles.query(name).encode(), params, name)


async def execute(
    conn: Connection, sql: bytes, params: Sequence[Any] = (), name: str = "a query"
) -> list[Row]:
    """Runs one statement and returns its rows; raises as ``run`` does."""
    with answering(conn, name):
        cursor = await conn.execute(sql, params, binary=True)
        return await cursor.fetchall() if cursor.description else []


async def run_within(
    conn: Connection, name: str, params: Sequence[Any], seconds: float
) -> list[Row] | None:
    """As ``run``; None if the server has ended it because it took longer than that."""
    limit = f"set local statement_timeout = {max(1, round(seconds * 1000))}"
    try:
        with answering(conn, name):
            async with conn.transaction():
                await conn.execute(limit.encode(), prepare=False)
                return await run(conn, name, params)
    except pg.QueryCanceled:
        return None


@contextmanager
def answering(conn: Connection, what: str) -> Iterator[None]:
    """Raises psycopg.OperationalError if the block takes longer than ``ANSWER_WITHIN_S``, where the
    server ends the session, whatever its reason, and where it takes no writes any more.

    In the first case the connection is cut. Cancelling would not do: psycopg asks the server to
    cancel and waits for its answer, and a stalled connection answers neither.
    """
    late = asyncio.get_running_loop().call_later(ANSWER_WITHIN_S, cut, conn)
    began = time.monotonic()
    try:
        yield
    except psycopg.Error as error:
        reraise(error, what, began)
    finally:
        late.cancel()


def reraise(error: psycopg.Error, what: str, began: float) -> NoReturn:
    """As ``answering`` raises what was raised in its block, which was entered then (monotonic)."""
    match error:
        case psycopg.OperationalError() if time.monotonic() - began >= ANSWER_WITHIN_S:
            raise psycopg.OperationalError(
                f"no answer to '{what}' within {ANSWER_WITHIN_S:.0f} s"
            ) from error
        case pg.ReadOnlySqlTransaction():
            # By a person, or by a managed server, as when its disk is full: nothing of ours is
            # wrong, and it passes.
            raise psycopg.OperationalError(f"the server accepts no writes: {error}") from error
        case psycopg.InternalError() if error.diag.severity_nonlocalized == "FATAL":
            # Transactions that stood still for too long end their session, under the codes of an
            # invalid state (25P03, 25P04).
            raise psycopg.OperationalError(str(error)) from error
    raise error


def cut(conn: Connection) -> None:
    """Ends a session that does not answer; what waits for it learns that."""
    # A copy of the descriptor: the connection is still psycopg's to close.
    with suppress(OSError), socket.socket(fileno=os.dup(conn.fileno())) as sock:
        sock.shutdown(socket.SHUT_RDWR)


# Of rows that no capture function of ours has written: the owner of a table of the suite can write
# into the queue. They cannot be translated, so they fail, visibly, and die.
_UNKNOWN = Layout(-1, "unknown", ("base", "company", "key"))
# The same for those whose references would fill our memory (windows count rows, not bytes), or
# whose key would not fit into the index of cdc.retry: the queries leave them where they are, and
# bring this word and the uid instead.
_UNFIT = "unfit"


class Layouts:
    """Layouts by number, as installed; they are few and never change."""

    def __init__(self) -> None:
        self._known: dict[int, Layout] = {}

    async def load(self, conn: Connection) -> None:
        rows = await run(conn, "layouts")
        self._known = {n: Layout(n, event, tuple(fields)) for n, event, fields in rows}

    async def deliveries(self, conn: Connection, rows: Sequence[Row]) -> list[Delivery]:
        """Rows as fetch and due return them."""
        known = self._known
        if any(row[4] not in known for row in rows):
            await self.load(conn)  # a new mapping was installed meanwhile
        return [
            Delivery(
                id=row[1],
                webhook_id=row[0],
                xid=row[2],
                uid=row[3],
                layout=self._layout(row),
                action=ACTION_NAMES.get(row[5], "unknown"),
                time=row[6],
                refs=tuple(row[7]) or (None,),
                attempts=row[9] if len(row) > 9 else 0,
                tries=row[10] if len(row) > 9 else 0,
                body=row[11] if len(row) > 9 else None,
                retrying=len(row) > 9,
                places=_places(row),
                included=row[8],
            )
            for row in rows
        ]

    def _layout(self, row: Row) -> Layout:
        layout = self._known.get(row[4])
        if layout is not None and len(row[7]) == 2 and row[7][0] == _UNFIT:
            return Layout(UNFIT, layout.event, ())
        if (
            layout is None
            or len(layout.fields) != len(row[7])
            or row[5] not in ACTION_NAMES
            or not loaders.readable(row[6])
        ):
            return _UNKNOWN
        return layout


def _places(row: Row) -> int:
    """What it takes in memory, roughly: a character of text may take four bytes there."""
    size = sum(map(getsizeof, row[7]))
    if row[8] is not None:
        size += getsizeof(row[8])
    if len(row) > 9 and row[11] is not None:
        size += len(row[11])
    return 1 + size // PLACE
