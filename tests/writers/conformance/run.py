"""Runs a statement as a client does, and writes down what the client sees."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from tests.writers.conformance.database import Connection, Database
from tests.writers.conformance.model import LOOK, Copy, Look, Other, Seen, Statement, Step, Variant
from tests.writers.conformance.watch import contents, look

START = {
    "transaction": "begin",
    "repeatable read": "begin isolation level repeatable read",
    "serializable": "begin isolation level serializable",
}
PLANS = {"generic plan": "force_generic_plan", "custom plan": "force_custom_plan"}


def run(statement: Statement, variant: Variant, database: Database) -> Seen:
    """All that is seen of it, from the first step to the end of the session."""
    database.reset(variant, statement.before)
    seen = Seen()
    with database.connect("writer") as conn:
        writer = Writer(seen, conn, database, variant)
        conn.execute("select setseed(0.5)")
        if variant.protocol in PLANS:
            conn.execute(f"set plan_cache_mode = {PLANS[variant.protocol]}".encode())
        xid, files = database.one(NEXT_XID), _files(conn, database)
        writer.steps(_in_transaction(statement, variant))
        if conn.info.transaction_status != TransactionStatus.IDLE:
            conn.execute("rollback")
        if any(isinstance(step, Other) for step in statement.steps):
            writer.other.execute("")  # it hears what it listens to
        seen.add("transactions", f"{int(database.one(NEXT_XID)) - int(xid)} used")
        seen.add("temporary files", f"{_files(conn, database) - files}")
        writer.close()
    for (left,) in database.watch.execute("select gid from pg_prepared_xacts"):
        database.watch.execute(f"rollback prepared '{left}'".encode())
    contents(seen, database)
    return seen


NEXT_XID = "select pg_snapshot_xmax(pg_current_snapshot())::text"
FILES = "select temp_files from pg_stat_database where datname = current_database()"


def _files(conn: Connection, database: Database) -> int:
    conn.execute("reset role; reset session authorization; select pg_stat_force_next_flush()")
    # What comparing 100,000 rows wrote would be counted late, with another statement.
    database.watch.execute("select pg_stat_force_next_flush()")
    return int(database.one(FILES))


def _in_transaction(statement: Statement, variant: Variant) -> tuple[Step, ...]:
    steps = statement.steps
    if LOOK in steps:  # it begins and ends its own
        return (*steps, LOOK)
    if variant.mode == "autocommit":
        return (*steps, LOOK)
    return (START[variant.mode], *steps, LOOK, "commit", LOOK)


class Writer:
    """A session of the suite, and the notes about what it sees."""

    def __init__(self, seen: Seen, conn: Connection, database: Database, variant: Variant) -> None:
        self.seen, self.conn = seen, conn
        self.database, self.variant = database, variant
        self.place = ""
        conn.add_notice_handler(self._noticed)
        conn.add_notify_handler(self._notified("own"))

    @cached_property
    def other(self) -> Connection:
        """Another session, for the statements that need one."""
        conn = self.database.connect("other")
        conn.add_notify_handler(self._notified("other's"))
        return conn

    def close(self) -> None:
        if "other" in self.__dict__:
            self.other.close()

    def steps(self, steps: Iterable[Step]) -> None:
        for number, part in enumerate(self._parts(list(steps)), 1):
            self.place = f"{number}"
            if len(part) > 1:
                self._pipelined(part)
            else:
                self._step(part[0])
            self.seen.add("state", f"{self.place}: {self.conn.info.transaction_status.name}")

    def _parts(self, steps: list[Step]) -> Iterator[list[str] | list[Step]]:
        """One by one; in a pipeline what can be in one."""
        together: list[str] = []
        for step in [*steps, None]:
            if (
                self.variant.protocol == "pipeline"
                and isinstance(step, str)
                and not step.startswith("copy (")
            ):
                together.append(step)
                continue
            if together:
                yield together
                together = []
            if step is not None:
                yield [step]

    def _step(self, step: Step) -> None:
        if isinstance(step, Look):
            self.conn.execute("" if self.conn.info.transaction_status else "select 1")
            look(self.seen, self.place, self.conn, self.database)
        elif isinstance(step, Other):
            self.other.execute(step.sql.encode())
        elif isinstance(step, Copy):
            with self._errors(), self.conn.cursor() as cursor:
                self._copy(cursor, step)
                self._result(self.place, cursor)
        elif step.startswith("copy ("):
            with self._errors(), self.conn.cursor() as cursor:
                with cursor.copy(step.encode()) as copy:
                    self.seen.add("rows", f"{self.place}: {b''.join(copy)!r}")
                self._result(self.place, cursor)
        else:
            with self._errors(), self.conn.cursor(binary=self.variant.protocol != "simple") as cur:
                cur.execute(step.encode(), prepare=self.variant.protocol.endswith("plan"))
                self._result(self.place, cur)

    def _copy(self, cursor: psycopg.Cursor[Any], step: Copy) -> None:
        with cursor.copy(step.sql.encode()) as copy:
            if step.types:
                copy.set_types(step.types)
            for row in step.rows():
                copy.write_row(row)

    def _pipelined(self, steps: list[Any]) -> None:
        cursors: list[psycopg.Cursor[Any]] = []
        with self._errors(), self.conn.pipeline():
            for step in steps:
                cursors.append(self.conn.cursor())
                cursors[-1].execute(step.encode())
        for number, cursor in enumerate(cursors):
            with suppress(psycopg.Error):
                self._result(f"{self.place}.{number}", cursor)

    def _result(self, place: str, cursor: psycopg.Cursor[Any]) -> None:
        more: bool | None = True
        while more:
            self.seen.add("tag", f"{place}: {cursor.statusmessage}")
            self.seen.add("count", f"{place}: {cursor.rowcount}")
            if cursor.description:
                names = [column.name for column in cursor.description]
                self.seen.add("rows", f"{place}: {names} {cursor.fetchall()}")
            more = cursor.nextset()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            said = error.diag
            self.seen.add(
                "errors",
                f"{self.place}: {said.sqlstate or type(error).__name__} {said.message_primary}"
                f" | {said.message_detail} | {said.message_hint} | {said.context}"
                f" | {said.table_name} {said.constraint_name}",
            )

    def _noticed(self, said: psycopg.errors.Diagnostic) -> None:
        self.seen.add(
            "notices", f"{self.place}: {said.severity} {said.message_primary} | {said.context}"
        )

    def _notified(self, name: str) -> Any:
        def heard(notify: psycopg.Notify) -> None:
            mine = notify.pid == self.conn.info.backend_pid
            self.seen.add(
                "notifications", f"{name}: {notify.channel} {notify.payload!r} of its own: {mine}"
            )

        return heard
