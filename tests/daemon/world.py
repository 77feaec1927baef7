"""A suite that is written to, receivers, and the ledger that both are held against.

What has to arrive is known from the writers alone: each notes what it wrote after its COMMIT has
returned. Our own queue is never asked.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple, Self

import psycopg

from cdc.mapping import default_mapping
from cdc.message.signing_keys import new_secret
from cdc.model import CHALLENGE_EVENT
from cdc.sandbox.receiver import Received, Receiver
from tests.daemon.running import LIMIT

Connection = psycopg.AsyncConnection[tuple[Any, ...]]

EVENTS = tuple(default_mapping().events)

# Every key is 1, or 2 for the second company's.
ROWS = """
insert into company (name) values ('a'), ('b');
insert into customer (company_id) values (1);
insert into project (company_id) values (1), (2);
insert into question (project_id) values (1);
"""


class Entry(NamedTuple):
    """A committed change, as its writer knows it.

    version:      how often the row was changed, this time included; 0 when it was made.
    began, ended: before and after the statement.
    """

    table: str
    key: str
    action: str
    version: int
    began: datetime
    ended: datetime


@dataclass(slots=True)
class Ledger:
    """What was committed."""

    entries: list[Entry] = field(default_factory=list)

    def lines(self, tables: Sequence[str] = ()) -> dict[tuple[str, str], list[Entry]]:
        """The changes of each row, in the order in which they were made."""
        lines: dict[tuple[str, str], list[Entry]] = defaultdict(list)
        for entry in self.entries:
            if not tables or entry.table in tables:
                lines[entry.table, entry.key].append(entry)
        for line in lines.values():
            line.sort(key=lambda entry: entry.version)
        return lines


class Writer:
    """A writer of the suite, on a connection of its own."""

    def __init__(self, conn: Connection, ledger: Ledger) -> None:
        self.conn = conn
        self._ledger = ledger
        self._open: list[list[Entry]] = []

    async def insert(self, table: str, **columns: Any) -> str:
        """Makes a row; returns its key."""
        names = ", ".join(columns)
        holes = ", ".join(["%s"] * len(columns))
        [key] = await self._write(
            table,
            "created",
            f"insert into {table} ({names}) values ({holes}) returning id, name",
            list(columns.values()),
        )
        return key

    async def change(self, table: str, *keys: str | int) -> None:
        """Changes rows in one statement: each counts how often it was changed."""
        await self._write(
            table,
            "modified",
            f"update {table} set name = (case name when '' then 0 else name::int end + 1)::text"
            " where id = any(%s::bigint[]) returning id, name",
            [[int(key) for key in keys]],
        )

    async def write(self, table: str, action: str, sql: str, *values: Any) -> list[str]:
        """Any statement that returns id and name of what it wrote."""
        return await self._write(table, action, sql, values)

    async def _write(self, table: str, action: str, sql: str, values: Sequence[Any]) -> list[str]:
        began = datetime.now(UTC)
        cursor = await self.conn.execute(sql.encode(), values)
        rows = await cursor.fetchall()
        ended = datetime.now(UTC)
        entries = [
            Entry(table, str(key), action, int(name or 0), began, ended) for key, name in rows
        ]
        # In autocommit the COMMIT has returned with the statement.
        (self._open[-1] if self._open else self._ledger.entries).extend(entries)
        return [entry.key for entry in entries]

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """A transaction, or a savepoint inside one; rolled back when the block raises Undo."""
        self._open.append([])
        try:
            async with self.conn.transaction():
                yield
        except Undo:
            self._open.pop()
            return
        except BaseException:
            self._open.pop()
            raise
        done = self._open.pop()
        (self._open[-1] if self._open else self._ledger.entries).extend(done)


class Undo(Exception):
    """Rolls a transaction back."""


@dataclass(frozen=True, slots=True)
class Hook:
    """A registered webhook."""

    id: int
    path: str
    secret: str
    tables: tuple[str, ...]


class World:
    """The suite's database, a receiver, and who writes and registers."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.ledger = Ledger()
        self.receiver = Receiver(on_received=self._came, on_answered=self._answered)
        self.came: dict[str, list[Received]] = defaultdict(list)
        self.done: dict[str, set[str]] = defaultdict(set)
        self.overlaps = 0
        self._flying: dict[tuple[str, str], str] = {}
        self._conns: list[Connection] = []
        self._paths = 0

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self, rows: str = ROWS) -> None:
        await self.receiver.start()
        self.conn = await self.connect()
        await self.conn.execute(rows.encode())

    async def close(self) -> None:
        for conn in self._conns:
            await conn.close()
        await self.receiver.stop()

    # -- the database -----------------------------------------------------------------------------

    async def connect(self) -> Connection:
        conn = await psycopg.AsyncConnection.connect(self.url, autocommit=True)
        self._conns.append(conn)
        return conn

    async def reconnect(self) -> None:
        """After the server was away."""
        for conn in self._conns:
            await conn.close()
        self._conns.clear()
        self.conn = await self.connect()

    async def writer(self) -> Writer:
        return Writer(await self.connect(), self.ledger)

    async def run(self, sql: str, *values: Any) -> None:
        await self.conn.execute(sql.encode(), values or None)

    async def all(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        cursor = await self.conn.execute(sql.encode(), values or None)
        return await cursor.fetchall()

    async def one(self, sql: str, *values: Any) -> Any:
        return (await self.all(sql, *values))[0][0]

    async def until(self, sql: str, *values: Any, limit: float = LIMIT) -> None:
        """Waits until a query returns a row that begins with true."""
        try:
            async with asyncio.timeout(limit):
                while True:
                    rows = await self.all(sql, *values)
                    if rows and rows[0][0]:
                        return
                    await asyncio.sleep(0.005)
        except TimeoutError:
            raise TimeoutError(f"within {limit:g} s not: {sql} {values}") from None

    async def settled(self, limit: float = LIMIT) -> None:
        """Waits until nothing lies in queue or retry table."""
        await self.until(
            "select not exists (select from cdc.queue) and not exists (select from cdc.retry)",
            limit=limit,
        )

    # -- webhooks ---------------------------------------------------------------------------------

    async def hook(self, *tables: str, company: str = "1", path: str = "", **columns: Any) -> Hook:
        """Registers a webhook for these tables (all), at a path of its own."""
        self._paths += 1
        path = path or f"/hook{self._paths}"
        secret = new_secret()
        self.receiver.expect(path, secret)
        names = "".join(f", {name}" for name in columns)
        holes = ", %s" * len(columns)
        async with self.conn.transaction():
            number = await self.one(
                f"insert into cdc.webhook (company, endpoint{names}) values (%s, %s{holes})"
                " returning id",
                company,
                self.receiver.url(path),
                *columns.values(),
            )
            await self.run(
                "insert into cdc.webhook_secret (webhook_id, secret) values (%s, %s)",
                number,
                secret,
            )
            for event in [f"{table}_changed" for table in tables] or EVENTS:
                await self.run(
                    "insert into cdc.subscription values (%s, %s, %s)", company, event, number
                )
        return Hook(number, path, secret, tables)

    async def version(self, hook: Hook) -> int:
        return int(await self.one("select version from cdc.webhook where id = %s", hook.id))

    # -- what arrives -----------------------------------------------------------------------------

    def _came(self, got: Received) -> None:
        self.came[got.path].append(got)
        flying = self._flying.setdefault((got.path, _resource(got)), got.uid)
        self.overlaps += flying != got.uid

    def _answered(self, got: Received) -> None:
        self._flying.pop((got.path, _resource(got)), None)
        if got.status is not None and 200 <= got.status < 300:
            self.done[got.path].add(got.uid)

    def expected(self, hook: Hook) -> int:
        """How many deliveries the ledger owes a webhook that was there from the beginning."""
        return sum(map(len, self.ledger.lines(hook.tables).values()))

    async def arrived(self, *hooks: Hook, limit: float = LIMIT) -> None:
        """Waits until all that the ledger owes was taken, and checks that nothing else was."""
        wanted = {hook.path: self.expected(hook) for hook in hooks}
        try:
            await self.receiver.wait_for(
                lambda _: all(len(self.done[path]) >= n for path, n in wanted.items()), limit
            )
        except TimeoutError:
            reported = {path: (len(self.done[path]), n) for path, n in wanted.items()}
            raise TimeoutError(f"taken and owed after {limit:g} s: {reported}") from None
        for hook in hooks:
            self.check(hook)

    def check(self, hook: Hook) -> None:
        """Each row's changes came in the order in which they were made, each under one id."""
        owed = self.ledger.lines(hook.tables)
        lines: dict[tuple[str, str], dict[str, Received]] = defaultdict(dict)
        for got in self.came[hook.path]:
            assert got.verified, got.problem
            table, key = _resource(got).split()
            lines[table, key].setdefault(got.uid, got)
        assert lines.keys() == owed.keys()
        for name, line in lines.items():
            reported = [(x.action, x.version) for x in owed[name]]
            assert len(line) == len(reported), (name, len(line), reported)
            for entry, got in zip(owed[name], line.values(), strict=True):
                payload = json.loads(got.body)
                assert payload["data"]["action"] == entry.action, (name, entry)
                # The time is the trigger's, so it lies within the writer's own statement.
                when = datetime.fromisoformat(payload["time"])
                assert entry.began <= when <= entry.ended, (name, entry, when)

    def repeats(self, hook: Hook) -> int:
        """How many POSTs came that had come before, under the same id."""
        came = self.came[hook.path]
        return len(came) - len({got.uid for got in came})


def _resource(got: Received) -> str:
    """Table and key of the changed row, out of the body."""
    payload = json.loads(got.body)
    table = payload["event"].removesuffix("_changed")
    if table == CHALLENGE_EVENT:
        return CHALLENGE_EVENT
    return f"{table} {payload['data'][table].rsplit('/', 2)[-2]}"


async def pages_read(conn: psycopg.AsyncConnection[Any]) -> int:
    """Pages of the queue and its indexes that this session has asked for."""
    await conn.execute(b"select pg_stat_force_next_flush()")
    cursor = await conn.execute(
        b"select sum(pg_stat_get_blocks_fetched(o))::bigint"
        b"  from (select 'cdc.queue'::regclass::oid as o union all select indexrelid"
        b"          from pg_index where indrelid = 'cdc.queue'::regclass) x"
    )
    [(pages,)] = await cursor.fetchall()
    return int(pages)
