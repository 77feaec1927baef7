"""The interview suite at work: runs its SQL, and keeps the ledger as it goes."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import psycopg

from cdc.sandbox.demo.ledger import Change, Kind, Ledger, Statement
from cdc.sandbox.demo.protocol import DemoRow

Connection = psycopg.AsyncConnection[tuple[object, ...]]
Tell = Callable[[str], None]


def created(*rows: DemoRow) -> list[Change]:
    return [Change(row, "created") for row in rows]


def modified(*rows: DemoRow) -> list[Change]:
    return [Change(row, "modified") for row in rows]


class Transaction:
    """One transaction of the suite; made by ``Writer.transaction``."""

    def __init__(self, conn: Connection, tell: Tell) -> None:
        self._conn = conn
        self._tell = tell
        self.made: list[tuple[Change, Statement]] = []
        self.undone: list[tuple[Change, Statement]] = []

    async def run(self, sql: str, changes: Sequence[Change] = ()) -> None:
        """Run a statement that makes these changes, in this order."""
        self._tell(sql + ";")
        statement = Statement(began=datetime.now(UTC))
        # Bytes, because psycopg wants no text that was put together; all of it is the demo's own.
        await self._conn.execute(sql.encode())
        statement.ended = datetime.now(UTC)
        self.made += [(change, statement) for change in changes]

    @asynccontextmanager
    async def rolled_back_savepoint(self) -> AsyncIterator[None]:
        """What runs inside is undone at the end."""
        kept = len(self.made)
        await self.run("savepoint second_thoughts")
        yield
        await self.run("rollback to savepoint second_thoughts")
        self.undone += self.made[kept:]
        del self.made[kept:]


class Writer:
    """A session of the suite."""

    def __init__(self, conn: Connection, ledger: Ledger) -> None:
        self._conn = conn
        self._ledger = ledger

    @asynccontextmanager
    async def transaction(
        self,
        tell: Tell = lambda sql: None,
        *,
        kind: Kind = "live",
        answers: tuple[int, ...] = (200,),
        commit: bool = True,
    ) -> AsyncIterator[Transaction]:
        """A transaction that ends with COMMIT, or ROLLBACK if so wished.

        tell:    told of each statement of the suite before it is run.
        kind:    of the entries it makes.
        answers: what the receiver is going to answer to each of its deliveries.
        """
        made = Transaction(self._conn, tell)
        await made.run("begin")
        try:
            yield made
        except BaseException:
            await self._conn.close()
            raise
        self._ledger.forbid(made.undone)
        if not commit:
            self._ledger.forbid(made.made)
            await made.run("rollback")
            return
        self._ledger.owe(made.made, kind=kind, answers=answers)
        tell("commit;")
        # The clock starts before the server can know: what is told is never too short.
        clock = time.perf_counter()
        for statement in {id(s): s for _, s in made.made}.values():
            statement.commit = clock
        await self._conn.execute(b"commit")

    async def once(
        self,
        sql: str,
        changes: Sequence[Change] = (),
        tell: Tell = lambda sql: None,
        *,
        kind: Kind = "live",
        answers: tuple[int, ...] = (200,),
    ) -> None:
        """One statement in a transaction of its own."""
        tell(sql + ";")
        async with self.transaction(kind=kind, answers=answers) as transaction:
            await transaction.run(sql, changes)
