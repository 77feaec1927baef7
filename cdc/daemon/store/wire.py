"""A session's socket with a reader of its own: for what runs hundreds of times a second.

psycopg's cursors take more of the processor than such a statement takes of the server: they
describe columns and set up their waiting for each. Here it is prepared once, and its answer is read
when the socket is readable, as are the rings of the doorbell.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

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

    wake: set when the server has sent something while nothing was asked: a ring, or the end.
    """

    def __init__(self, conn: Connection, wake: asyncio.Event) -> None:
        self._conn = conn
        self._pgconn = conn.pgconn
        self._fd = conn.fileno()
        self._loop = asyncio.get_running_loop()
        self._loaders = Transformer(conn)
        self._answer: asyncio.Future[pq.abc.PGresult] | None = None
        self._prepared: set[str] = set()
        self._lost: psycopg.Error | None = None
        self._wake = wake
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

    def listen(self) -> None:
        """From here on ``wake`` is set when the server sends something of its own accord. (psycopg
        puts a reader of its own in this place with each statement.)"""
        if self._lost is not None:
            raise self._lost
        self._loop.add_reader(self._fd, self._readable)

    def close(self) -> None:
        """Before the session is closed. Where it is lost, libpq has closed the socket, and its
        number may be another connection's by now."""
        try:
            ours = self._pgconn.socket == self._fd
        except psycopg.Error:
            ours = False
        if ours:
            self._loop.remove_reader(self._fd)

    async def _ask(self, send: Callable[[], None]) -> pq.abc.PGresult:
        self.listen()
        self._answer = asked = self._loop.create_future()
        try:
            send()
            # No event says when the socket takes more; it is empty as good as always.
            while self._pgconn.flush():  # noqa: ASYNC110
                await asyncio.sleep(SEND_AGAIN_S)
            result: pq.abc.PGresult = await asked
        finally:
            self._answer = None
        if result.status not in _GOOD:
            raise pg.error_from_result(result)
        return result

    def _readable(self) -> None:
        pgconn, asked = self._pgconn, self._answer
        try:
            pgconn.consume_input()
            while pgconn.notifies() is not None:
                self.rung = True
            if asked is None:
                self._wake.set()
                return
            while not asked.done() and not pgconn.is_busy():
                result = pgconn.get_result()
                if result is None:
                    break
                asked.set_result(result)
                while not pgconn.is_busy() and pgconn.get_result() is not None:
                    pass
        except psycopg.Error as error:
            # Level-triggered: the end of the connection would be reported without end.
            self._loop.remove_reader(self._fd)
            self._lost = error
            if asked is not None and not asked.done():
                asked.set_exception(error)
            self._wake.set()
