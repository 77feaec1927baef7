"""A session's socket with a reader of its own: for what runs hundreds of times a second.

psycopg's cursors take more of the processor than such a statement takes of the server: they
describe columns and set up their waiting for each. Here it is prepared once, and its answer is read
when the socket is readable, as are the rings of the doorbell.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from time import monotonic

import psycopg
from psycopg import abc, pq
from psycopg import errors as pg
from psycopg.adapt import Transformer

from cdc.daemon.store import session
from cdc.daemon.store.session import Connection, Row, cut, reraise
from cdc.postgres import sqlfiles

SEND_AGAIN_S = 0.001
"""Until it is tried again to send what the socket has not taken."""
_GOOD = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK)


class Wire:
    """For one task, which uses the session through here or through psycopg, never both at a time.

    The event loop reads a duplicate of the socket, and goes on with that from one statement to the
    next: setting it up takes a dozen system calls. psycopg puts readers of its own under the
    socket's number; libpq closes it when the session is lost, and the number is soon another
    connection's. Once something comes that is not asked for here, the reader is taken away.

    There is one timer, not one a statement: it is set to the time by which something has to come,
    and where that has moved on when it fires, it is set again.

    rung: a notification has come; for its user to reset.
    """

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self._pgconn = conn.pgconn
        self._loop = asyncio.get_running_loop()
        self._prepared: set[str] = set()
        self._loaders: dict[str, abc.Transformer] = {}
        self._fd = os.dup(self._pgconn.socket)
        self._waiter: asyncio.Future[bool] | None = None
        self._asks = False  # an answer is waited for, and not whatever comes
        self._timer: asyncio.TimerHandle | None = None
        self._fires = self._due = 0.0
        self.rung = False

    def close(self) -> None:
        """Leaves nothing in the event loop; the session is not to be used through here again."""
        if self._fd >= 0:
            self._rest()
            os.close(self._fd)
            self._fd = -1
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def run(self, name: str, params: Sequence[str | None]) -> list[Row]:
        """Runs a query of ``sql/queries``, with parameters as text. Raises as ``session.run``."""
        values = [None if value is None else value.encode() for value in params]
        began = monotonic()
        try:
            try:
                answer = await self._execute(name, values, began)
            except pg.InvalidSqlStatementName:
                # psycopg has used the session and rolled back: then it deallocates all there are.
                self._prepared.clear()
                answer = await self._execute(name, values, began)
        except psycopg.Error as error:
            reraise(error, name, began)
        loaders = self._loaders.get(name)
        if loaders is None:
            loaders = self._loaders[name] = Transformer(self._conn)
            loaders.set_pgresult(answer)
        else:  # the columns are the same
            loaders.set_pgresult(answer, set_loaders=False)
        return loaders.load_rows(0, answer.ntuples, tuple)

    async def listen(self, seconds: float) -> bool:
        """Waits until the server sends something of its own accord, or for as many seconds; and for
        ``wake``. Returns whether it was woken.

        That is a ring, or the end of the session, which the next statement reports.
        """
        if self._rings():  # it came right behind an answer
            return True
        return await self._wait(monotonic() + seconds)

    def wake(self) -> None:
        """Ends ``listen``."""
        if self._waiter is not None and not self._asks:
            self._came(True)

    async def _execute(
        self, name: str, values: Sequence[bytes | None], began: float
    ) -> pq.abc.PGresult:
        statement, pgconn = name.encode(), self._pgconn
        if name not in self._prepared:
            text = sqlfiles.query(name).encode()
            await self._ask(lambda: pgconn.send_prepare(statement, text), began)
            self._prepared.add(name)
        return await self._ask(
            lambda: pgconn.send_query_prepared(statement, values, result_format=pq.Format.BINARY),
            began,
        )

    async def _ask(self, send: Callable[[], None], began: float) -> pq.abc.PGresult:
        pgconn = self._pgconn
        send()
        # No event says when the socket takes more; it is empty as good as always.
        while pgconn.flush():  # noqa: ASYNC110
            await asyncio.sleep(SEND_AGAIN_S)
        first: pq.abc.PGresult | None = None
        due = began + session.ANSWER_WITHIN_S
        self._asks = True
        try:
            while True:
                while pgconn.is_busy():
                    if not await self._wait(due):
                        cut(self._conn)  # and read its end
                        due = monotonic() + session.ANSWER_WITHIN_S
                result = pgconn.get_result()
                if result is None:
                    break
                first = first or result
        finally:
            self._asks = False
        assert first is not None, "each statement has a result"
        if first.status not in _GOOD:
            raise pg.error_from_result(first)
        return first

    async def _wait(self, due: float) -> bool:
        """Until something has come that is waited for; False: it has not, until then."""
        waiter: asyncio.Future[bool] = self._loop.create_future()
        self._waiter = waiter
        self._due = due
        if self._timer is None or self._fires > due:
            self._set_timer(due)
        self._read()
        try:
            return await waiter
        finally:
            self._waiter = None

    def _came(self, what: bool | psycopg.Error) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is None or waiter.done():
            return
        if isinstance(what, bool):
            waiter.set_result(what)
        else:
            waiter.set_exception(what)

    # -- called by the event loop -----------------------------------------------------------------

    def _readable(self) -> None:
        if self._waiter is None:
            self._rest()  # it is for psycopg, or for later
            return
        pgconn = self._pgconn
        try:
            pgconn.consume_input()
            self._rings()
        except psycopg.OperationalError as error:
            self._came(error if self._asks else True)
            return
        if not self._asks or not pgconn.is_busy():
            self._came(True)

    def _alarm(self) -> None:
        self._timer = None
        if self._waiter is None:
            return
        if self._due > monotonic():
            self._set_timer(self._due)
        else:
            self._came(False)

    # -- inside -----------------------------------------------------------------------------------

    def _rings(self) -> bool:
        """Takes the notifications that have been read. Returns whether there were any."""
        came = False
        while self._pgconn.notifies() is not None:
            came = self.rung = True
        return came

    def _set_timer(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._fires = due
        self._timer = self._loop.call_later(max(0.0, due - monotonic()), self._alarm)

    def _read(self) -> None:
        """Has the event loop read, from here on if it does not yet."""
        try:
            self._loop.add_reader(self._fd, self._readable)
        except RuntimeError:
            # uvloop closes what reads a socket that reports an error, and keeps it.
            self._rest()
            self._loop.add_reader(self._fd, self._readable)

    def _rest(self) -> None:
        self._loop.remove_reader(self._fd)
