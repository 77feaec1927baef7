"""A session's socket with a reader of its own: for what runs hundreds of times a second.

psycopg's cursors take more of the processor than such a statement takes of the server: they
describe columns and set up their waiting for each. Here it is prepared once, and its answer is read
when the socket is readable, as are the rings of the doorbell.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import psycopg
from psycopg import errors as pg
from psycopg import pq
from psycopg.adapt import Transformer

from cdc.daemon.store.session import Connection, Row, answering
from cdc.postgres import sqlfiles

SEND_AGAIN_S = 0.001
"""Until it is tried again to send what the socket has not taken."""
_GOOD = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK)


class Wire:
    """For one task, which uses the session through here or through psycopg, never both at a time.

    It leaves nothing in the event loop between two calls. psycopg would put its own reader in that
    place; libpq closes the socket of a lost session, and its number is soon another connection's;
    and uvloop closes what reads a socket that reports an error, and keeps it under that number.

    rung: a notification has come; for its user to reset.
    """

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self._pgconn = conn.pgconn
        self._loop = asyncio.get_running_loop()
        self._loaders = Transformer(conn)
        self._prepared: set[str] = set()
        self._fd = -1
        self.rung = False

    async def run(self, name: str, params: Sequence[bytes | None]) -> list[Row]:
        """Runs a query of ``sql/queries``, with parameters as text. Raises as ``session.run``."""
        statement, pgconn = name.encode(), self._pgconn
        with answering(self._conn, name):
            if name not in self._prepared:
                text = sqlfiles.query(name).encode()
                await self._ask(lambda: pgconn.send_prepare(statement, text))
                self._prepared.add(name)
            answer = await self._ask(
                lambda: pgconn.send_query_prepared(
                    statement, params, result_format=pq.Format.BINARY
                )
            )
        self._loaders.set_pgresult(answer)
        return self._loaders.load_rows(0, answer.ntuples, tuple)

    @contextmanager
    def listening(self, wake: asyncio.Event) -> Iterator[None]:
        """Inside, ``wake`` is set when the server sends something of its own accord: a ring, or the
        end of the session, which the next statement reports."""
        self._read(wake.set)
        try:
            yield
        finally:
            self._rest()
        with suppress(psycopg.Error):
            self._take()

    async def _ask(self, send: Callable[[], None]) -> pq.abc.PGresult:
        pgconn = self._pgconn
        send()
        # No event says when the socket takes more; it is empty as good as always.
        while pgconn.flush():  # noqa: ASYNC110
            await asyncio.sleep(SEND_AGAIN_S)
        first: pq.abc.PGresult | None = None
        while True:
            while pgconn.is_busy():
                await self._readable()
                self._take()
            result = pgconn.get_result()
            if result is None:
                break
            first = first or result
        assert first is not None, "each statement has a result"
        if first.status not in _GOOD:
            raise pg.error_from_result(first)
        return first

    def _take(self) -> None:
        """Reads what the server has sent. Raises OperationalError at the end of the session."""
        self._pgconn.consume_input()
        while self._pgconn.notifies() is not None:
            self.rung = True

    async def _readable(self) -> None:
        came: asyncio.Future[None] = self._loop.create_future()

        def answered() -> None:
            if not came.done():
                came.set_result(None)

        self._read(answered)
        try:
            await came
        finally:
            self._rest()

    # libpq is not called between these two: the socket stays what it is.

    def _read(self, readable: Callable[[], object]) -> None:
        """Calls ``readable`` when there is something to read, until ``_rest``."""
        self._fd = self._pgconn.socket
        self._loop.add_reader(self._fd, readable)

    def _rest(self) -> None:
        self._loop.remove_reader(self._fd)
