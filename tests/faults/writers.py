"""People of the suite at work: transactions of all shapes, noted in the ledger.

No two open transactions touch the same row (rows are borrowed), so no writer waits for a lock,
and of each row it is known when it was written. A writer whose COMMIT got no answer asks
the suite's own tables: each transaction counts up the writer's row in ``customer``,
which nothing captures.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import psycopg

from cdc.sandbox.records import Hook
from tests.faults.ledger import Ledger, Statement
from tests.faults.suite import CAPTURED_WHEN_DELETED, EVENTS, STATUSES, table_of

Connection = psycopg.AsyncConnection[tuple[Any, ...]]

# How often each is changed; candidates the most, as most webhooks want them.
WEIGHTS = (6, 4, 1, 1, 1)
INSERTS = {
    "candidate": "insert into candidate (project_id, name) select {company} * 1000 + 1, '0'",
    "rating": "insert into rating (candidate_id, name) select {company} * 1000 + 1, '0'",
    "project": "insert into project (company_id, name) select {company}, '0'",
    "answervideo": "insert into answervideo (candidate_id, question_id, name)"
    " select {company} * 1000 + 1, {company}, '0'",
    "note": "insert into note (candidate_id, name) select {company} * 1000 + 1, '0'",
}
RETURNING = " returning id::text, name::int, (extract(epoch from clock_timestamp()) * 1e6)::bigint"


class Rows(NamedTuple):
    company: str
    event: str
    keys: list[str]


class Owed:
    """What the ledger owes each webhook so far, in deliveries; and how much of that is taken."""

    def __init__(self, hooks: list[Hook], rejected: frozenset[tuple[int, str, str]]) -> None:
        self.by_webhook = [0] * len(hooks)
        self._rejected = rejected
        self._hooks: dict[tuple[str, str], list[Hook]] = defaultdict(list)
        for hook in hooks:
            for event in hook.events:
                self._hooks[hook.company, event].append(hook)

    def add(self, statement: Statement) -> None:
        for hook in self._hooks[statement.company, statement.event]:
            if not hook.wants(statement):
                continue
            self.by_webhook[hook.number] += len(statement.rows)
            for key, *_ in statement.rows:
                self.by_webhook[hook.number] -= (
                    hook.number,
                    statement.event,
                    key,
                ) in self._rejected

    @property
    def deliveries(self) -> int:
        return sum(self.by_webhook)


class Writers:
    """Several writers; ``run()`` goes on until ``stop()``.

    backlog: asked how many deliveries are outstanding; while there are more than ``most``, only
             transactions that are open go on.
    pace:    seconds between the transactions of one writer.
    """

    def __init__(
        self,
        url: str,
        keys: dict[tuple[str, str], list[str]],
        ledger: Ledger,
        owed: Owed,
        *,
        writers: int,
        backlog: Callable[[], int],
        most: int,
        seed: int = 0,
    ) -> None:
        self._url = url
        self._free = {place: list(line) for place, line in keys.items()}
        self._ledger = ledger
        self._owed = owed
        self._backlog = backlog
        self._seed = seed
        self._writers = writers
        self._stopping = False
        self.most = most
        self.pace = 0.0
        self.rows = 30
        self.transactions = 0
        self.unknown = 0

    def stop(self) -> None:
        """What is open is ended, nothing new begun."""
        self._stopping = True

    def make(self) -> list[Writer]:
        """The writers, each with a number; the first two of several take their time to commit."""
        many = self._writers
        return [Writer(self, n, late=n <= 2 < many) for n in range(1, many + 1)]

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for writer in self.make():
                tasks.create_task(writer.run())

    async def room(self) -> bool:
        """Waits until more may be written; False: no more."""
        while not self._stopping and self._backlog() > self.most:  # noqa: ASYNC110 - shared memory signals nothing
            await asyncio.sleep(0.01)
        return not self._stopping

    def borrow(self, chance: random.Random) -> Rows:
        """Rows of one company and event that no other writer has."""
        event = chance.choices(EVENTS, WEIGHTS)[0]
        company = str(chance.randint(1, len(self._free) // len(EVENTS)))
        free = self._free[company, event]
        chance.shuffle(free)
        taken = free[: min(self.rows, max(1, len(free) // 3))]
        del free[: len(taken)]
        return Rows(company, event, taken)

    def give_back(self, rows: Rows) -> None:
        self._free[rows.company, rows.event] += rows.keys

    def ended(self, statements: list[Statement], done: float, *, committed: bool) -> None:
        self._ledger.note(statements, done=done, committed=committed)
        if committed:
            for statement in statements:
                self._owed.add(statement)


class Writer:
    """One connection, one transaction at a time."""

    def __init__(self, all_: Writers, number: int, *, late: bool) -> None:
        self.all = all_
        self.number = number
        self.late = late
        self.chance = random.Random(f"{all_._seed} {number}")
        self.conn: Connection | None = None
        self.count = 0  # of committed transactions, as the writer's own row says

    async def run(self) -> None:
        try:
            while await self.all.room():
                await self.transaction()
                if self.all.pace:
                    await asyncio.sleep(self.all.pace * self.chance.uniform(0.5, 1.5))
        finally:
            if self.conn is not None:
                await self.conn.close()

    async def connected(self) -> Connection:
        """A connection, as soon as the server is there."""
        while self.conn is None or self.conn.closed:
            with suppress(psycopg.OperationalError):
                self.conn = await psycopg.AsyncConnection.connect(self.all._url, connect_timeout=5)
                break
            await asyncio.sleep(0.05)
        assert self.conn is not None
        return self.conn

    async def transaction(self) -> None:
        conn = await self.connected()
        rows = self.all.borrow(self.chance)
        kept: list[Statement] = []
        undone: list[Statement] = []
        new: list[str] = []
        gone: list[str] = []
        done: float | None = None
        committing = False
        try:
            await self._statements(conn, rows, kept, undone, new)
            if rows.event in CAPTURED_WHEN_DELETED and self.chance.random() < 0.2:
                gone = rows.keys[: self.chance.randint(1, 2)]
                kept.append(await self._delete(conn, rows, gone))
            if self.late:
                await asyncio.sleep(self.chance.uniform(0.1, 2.5))
            done = time.monotonic()
            if self.chance.random() < 0.1:
                await conn.rollback()
                undone, kept, new, gone = undone + kept, [], [], []
            else:
                await conn.execute(
                    "update customer set name = %s where id = %s",
                    (str(self.count + 1), self.number),
                )
                done = time.monotonic()
                committing = True
                await conn.commit()
                self.count += 1
        except psycopg.OperationalError:
            await conn.close()
            if not (committing and await self._committed()):
                undone, kept, new, gone = undone + kept, [], [], []
        self.all.transactions += 1
        self.all.ended(undone, done or time.monotonic(), committed=False)
        self.all.ended(kept, done or time.monotonic(), committed=True)
        left = [key for key in rows.keys + new if key not in gone]
        self.all.give_back(rows._replace(keys=left))

    async def _statements(
        self,
        conn: Connection,
        rows: Rows,
        kept: list[Statement],
        undone: list[Statement],
        new: list[str],
    ) -> None:
        chance = self.chance
        if not rows.keys or chance.random() < 0.15:
            made = await self._insert(conn, rows, chance.randint(1, 5))
            kept.append(made)
            new += [key for key, *_ in made.rows]
            if chance.random() < 0.5:
                kept.append(await self._update(conn, rows, new))
        if rows.keys:
            kept.append(await self._update(conn, rows, rows.keys))
        if chance.random() < 0.15:
            await conn.execute("savepoint s")
            undone.append(await self._update(conn, rows, rows.keys + new))
            await conn.execute("rollback to savepoint s")
        if chance.random() < 0.15:
            kept.append(await self._update(conn, rows, (rows.keys + new)[:5]))

    async def _insert(self, conn: Connection, rows: Rows, many: int) -> Statement:
        sql = INSERTS[table_of(rows.event)].format(company=rows.company)
        sql += f" from generate_series(1, {many})" + RETURNING
        return await self._write(conn, rows, "created", sql, ())

    async def _update(self, conn: Connection, rows: Rows, keys: list[str]) -> Statement:
        sql = f"update {table_of(rows.event)} set name = (name::int + 1)::text"
        became = ""
        if rows.event == "candidate_changed":
            became = self.chance.choice(STATUSES)
            sql += f", status = '{became}'"
        sql += " where id = any(%s::bigint[])" + RETURNING
        return await self._write(conn, rows, "modified", sql, (keys,), became)

    async def _delete(self, conn: Connection, rows: Rows, keys: list[str]) -> Statement:
        sql = f"delete from {table_of(rows.event)} where id = any(%s::bigint[])" + RETURNING
        return await self._write(conn, rows, "deleted", sql, (keys,))

    async def _write(
        self,
        conn: Connection,
        rows: Rows,
        action: str,
        sql: str,
        values: tuple[Any, ...],
        became: str = "",
    ) -> Statement:
        cursor = await conn.execute(sql.encode(), values or None)
        written = await cursor.fetchall()
        until = time.time_ns() // 1000 + 1
        lines = [(k, v, since) for k, v, since in written]
        return Statement(rows.company, rows.event, action, lines, until, became)

    async def _committed(self) -> bool:
        """No answer came to COMMIT: the writer's own row shows whether it was done."""
        self.all.unknown += 1
        while True:
            conn = await self.connected()
            try:
                cursor = await conn.execute(
                    "select name::int from customer where id = %s", (self.number,)
                )
                row = await cursor.fetchone()
                await conn.rollback()
            except psycopg.OperationalError:
                await conn.close()
                continue
            assert row is not None
            if row[0] > self.count:
                self.count = row[0]
                return True
            return False
