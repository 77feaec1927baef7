"""The interview suite at work: runs its SQL and notes what that owes; and reads what arrived by it.

Knows nothing of the queue.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager

import psycopg

from cdc.sandbox.account import Account, account
from cdc.sandbox.demo import protocol
from cdc.sandbox.demo.protocol import SuiteRow
from cdc.sandbox.receiver import Received
from cdc.sandbox.records import Arrival, Change, Hook, said

LATE_AFTER = 30.0
"""Seconds from COMMIT to receipt beyond which a delivery counts as wrong."""

Connection = psycopg.AsyncConnection[tuple[object, ...]]
Tell = Callable[[str], None]
ASIDE: Tell = lambda sql: None  # noqa: E731 - a default


class Book:
    """The ledger: every change that the suite made.

    hooks:    the registered webhooks; each receives at ``/`` and its name.
    posts:    how many are due by now, those that the receiver is going to refuse included.
    refusals: how many it is going to refuse.
    """

    def __init__(self, base: str, hooks: Sequence[Hook]) -> None:
        self.hooks = hooks
        self.changes: list[Change] = []
        self.posts = self.refusals = 0
        self._base = base
        self._rows: dict[tuple[str, str], SuiteRow] = {}
        self._versions: Counter[tuple[str, str]] = Counter()
        self._numbers = {f"/{hook.name}": hook.number for hook in hooks}

    def refuse_one(self) -> None:
        """The receiver answers one POST with a failure, so it comes twice."""
        self.posts += 1
        self.refusals += 1

    def change(
        self, row: SuiteRow, action: str, since: int, until: int, tag: str, became: str = ""
    ) -> Change:
        """A change whose end is not certain yet."""
        place = row.event, str(row.id)
        self._rows[place] = row
        version = self._versions[place]
        self._versions[place] += 1
        company = str(row.company)
        return Change(company, *place, action, version, since, until, 0.0, False, tag, became)

    def enter(self, changes: Iterable[Change], *, committed: bool, done: float = 0.0) -> None:
        """They are about to be committed, or were rolled back."""
        for change in changes:
            self.changes.append(change._replace(committed=committed, done=done))
            self.posts += self.owed(change) if committed else 0

    def owed(self, change: Change) -> int:
        """At how many webhooks it is wanted."""
        return sum(hook.wants(change) for hook in self.hooks)

    def arrival(self, got: Received) -> Arrival:
        """What a POST says, and in what it differs from what its row owes."""
        number = self._numbers.get(got.path, -1)
        problem = "" if got.verified else str(got.problem)
        ends = (got.clock, got.clock, got.status or 0, problem)
        try:
            says = said(got.body)
            stated = json.loads(got.body)["time"]
        except (ValueError, LookupError, TypeError, AttributeError):
            other = f"another form: {_shown(got)}"
            return Arrival(number, got.uid, "", "", "", "", 0, *ends, other)
        row = self._rows.get((says.event, says.key))
        altered = "" if row is None else self._altered(got, row, says.action, stated)
        return Arrival(number, got.uid, *says, *ends, altered, hash(got.body))

    def _altered(self, got: Received, row: SuiteRow, action: str, stated: str) -> str:
        if got.method != protocol.METHOD:
            return f"came by {got.method}"
        for name, value in protocol.HEADERS.items():
            if got.headers.get(name) != value:
                return f"header {name} is {got.headers.get(name)!r}, not {value!r}"
        if not protocol.TIME.fullmatch(stated):
            return f"time {stated} is not in the protocol's form"
        owed = protocol.body(self._base + got.path, stated, row, action)
        return "" if got.body == owed else f"owed was {owed.decode()}, but {_shown(got)} came"

    def account(self, received: Iterable[Received]) -> Account:
        """All of it, compared."""
        arrivals = [self.arrival(got) for got in received]
        return account(self.changes, arrivals, self.hooks, late_after=LATE_AFTER)

    def latency(self, got: Received) -> float | None:
        """Seconds from just before COMMIT to the receipt; None where no change owes it."""
        came = self.arrival(got)
        for change in reversed(self.changes):
            of_row = (change.event, change.key) == (came.event, came.key)
            if of_row and change.since <= came.time <= change.until:
                return got.clock - change.done
        return None


class Transaction:
    """One transaction of the suite; made by ``Writer.transaction``."""

    def __init__(self, conn: Connection, book: Book, tell: Tell, tag: str) -> None:
        self._conn = conn
        self._book = book
        self._tell = tell
        self._tag = tag
        self.made: list[Change] = []
        self.undone: list[Change] = []

    async def run(self, sql: str, *rows: SuiteRow, became: str = "") -> None:
        """Run a statement that makes or changes these rows. became: the status it gives them."""
        self._tell(sql + ";")
        since = time.time_ns() // 1000
        # Bytes, because psycopg wants no text that was put together; all of it is the demo's own.
        await self._conn.execute(sql.encode())
        until = time.time_ns() // 1000 + 1
        action = "created" if sql.startswith("insert") else "modified"
        self.made += [
            self._book.change(row, action, since, until, self._tag, became) for row in rows
        ]

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

    def __init__(self, conn: Connection, book: Book) -> None:
        self._conn = conn
        self._book = book

    @asynccontextmanager
    async def transaction(
        self, tell: Tell = ASIDE, *, tag: str = "live", commit: bool = True
    ) -> AsyncIterator[Transaction]:
        """A transaction that ends with COMMIT, or ROLLBACK if so wished.

        tell: shows each statement of the suite before it is run.
        tag:  of the changes it makes.
        """
        made = Transaction(self._conn, self._book, tell, tag)
        await made.run("begin")
        try:
            yield made
        except BaseException:
            await self._conn.close()
            raise
        self._book.enter(made.undone, committed=False)
        if not commit:
            self._book.enter(made.made, committed=False)
            await made.run("rollback")
            return
        tell("commit;")
        # Noted before the server can know: nothing arrives unnoted, and no latency is too short.
        self._book.enter(made.made, committed=True, done=time.perf_counter())
        await self._conn.execute(b"commit")

    async def once(
        self,
        sql: str,
        *rows: SuiteRow,
        tell: Tell = ASIDE,
        tag: str = "live",
        became: str = "",
    ) -> None:
        """One statement in a transaction of its own."""
        tell(sql + ";")
        async with self.transaction(tag=tag) as transaction:
            await transaction.run(sql, *rows, became=became)


def _shown(got: Received) -> str:
    return f"{got.method} {got.path} {got.body[:600].decode(errors='replace')}"
