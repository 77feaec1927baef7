"""A server with logical WAL: the suite in one database, a copy of its tables in another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from cdc.mapping import default_mapping
from cdc.sandbox.embedded import EmbeddedPostgres
from cdc.sandbox.suite import tables_sql
from tests.capture.conftest import own_suite
from tests.capture.kit import Connection, connect
from tests.cli.conftest import as_role, cdc, db

__all__ = ["as_role", "cdc", "db", "logical", "own_suite", "pair"]


@dataclass(frozen=True, slots=True)
class Pair:
    """publisher, subscriber: addresses of two databases with the suite's tables."""

    publisher: str
    subscriber: str

    def subscribe(self, publication: str) -> None:
        """Sends what is changed from now on. Both are on one server: the slot is made beforehand,
        since making it would wait for the transaction that makes the subscription."""
        with connect(self.publisher) as conn:
            conn.execute("select pg_create_logical_replication_slot('copy', 'pgoutput')")
        with connect(self.subscriber) as conn:
            conn.execute(
                f"create subscription copy connection '{self.publisher}' publication {publication}"
                " with (create_slot = false, slot_name = 'copy', copy_data = false)".encode()
            )

    def unsubscribe(self) -> None:
        with connect(self.subscriber) as conn:
            if conn.execute("select 1 from pg_subscription where subname = 'copy'").fetchone():
                conn.execute("alter subscription copy disable")
                conn.execute("alter subscription copy set (slot_name = none)")
                conn.execute("drop subscription copy")
        with connect(self.publisher) as conn:
            conn.execute("select pg_terminate_backend(active_pid) from pg_replication_slots")
            until(conn, "select not exists (select from pg_replication_slots where active)")
            conn.execute("select pg_drop_replication_slot(slot_name) from pg_replication_slots")


@pytest.fixture(scope="package")
def logical() -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(
        settings={"wal_level": "logical", "wal_retrieve_retry_interval": "100ms"}
    ) as server:
        yield server


@pytest.fixture
def pair(logical: EmbeddedPostgres) -> Iterator[Pair]:
    with connect(logical.url()) as admin:
        for name in ("publisher", "subscriber"):
            admin.execute(f"create database {name}".encode())
        made = Pair(logical.url("publisher"), logical.url("subscriber"))
        for url in (made.publisher, made.subscriber):
            with connect(url) as conn:
                conn.execute(tables_sql(default_mapping()).encode())
        yield made
        made.unsubscribe()
        for name in ("publisher", "subscriber"):
            admin.execute(f"drop database {name} with (force)".encode())


def until(conn: Connection, question: str) -> None:
    """Waits for a true answer."""
    for _ in range(3000):
        row = conn.execute(question.encode()).fetchone()
        if row and row[0]:
            return
        conn.execute("select pg_sleep(0.01)")
    raise TimeoutError(question)
