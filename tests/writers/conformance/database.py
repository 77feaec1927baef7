"""Two databases of one template, alike but for capture."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

from cdc.mapping import load_mapping
from cdc.sandbox.embedded import EmbeddedPostgres
from cdc.sandbox.suite import capture
from cdc.schema import migrations
from tests.support import odd
from tests.writers.conformance.model import Variant

HERE = Path(__file__).parent
ROWS = (HERE / "start.sql").read_text("utf-8")
MAPPING = load_mapping(HERE / "mapping.toml")
SETTINGS = (odd.SETTINGS if odd.ODD else {}) | {
    "max_prepared_transactions": "10",
    "autovacuum": "off",  # it would take transaction ids
    "log_temp_files": "0",
}
FAR = 9_000_000_000_000_000
"""The bell is armed for longer than any test runs."""
VACUUM_EVERY = 20
"""Resets. Nothing else cleans up after them."""
VACUUM = (
    "vacuum company, project, candidate, rating, note, ticket, audit,"
    " cdc.queue, cdc.unresolved, cdc.subscription, cdc.webhook"
)

Connection = psycopg.Connection[Any]


class Database:
    """One of the two. watch: a connection that looks from outside."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.watch = self.connect("watch")
        self.release = self.watch.info.server_version // 10000
        self._events = MAPPING.events
        self._resets = count(1)

    def connect(self, name: str) -> Connection:
        conn = psycopg.connect(
            self.url,
            autocommit=True,
            application_name=name,
            prepare_threshold=None,
            options="",  # the writer's settings are as odd as the server's
        )
        conn.execute("set search_path = public")
        return conn

    def reset(self, variant: Variant, before: str) -> None:
        """The rows that every statement finds, and what is registered."""
        if next(self._resets) % VACUUM_EVERY == 0:
            self.watch.execute(VACUUM)
        self.watch.execute(ROWS.encode())
        armed = FAR if variant.bell else 1
        script = f"select setval('cdc.bell', {armed});"
        if variant.webhooks:
            for company in ("1", "2"):
                events = ", ".join(f"('{event}')" for event in self._events)
                script += (
                    "with hook as (insert into cdc.webhook (company, endpoint)"
                    f" values ('{company}', 'https://receiver.example/') returning id)"
                    " insert into cdc.subscription (company, event, webhook_id)"
                    f" select '{company}', event, id from hook, (values {events}) e (event);"
                )
        if before:
            script += (
                f"set session_replication_role = replica;{before}; reset session_replication_role;"
            )
        self.watch.execute(script.encode())

    def captured(self) -> int:
        """How many changes were queued or kept."""
        return int(
            self.one("select (select count(*) from cdc.queue) + count(*) from cdc.unresolved")
        )

    def one(self, sql: str, *values: object) -> Any:
        row = self.watch.execute(sql.encode(), values or None).fetchone()
        assert row is not None
        return row[0]

    def close(self) -> None:
        self.watch.close()


@contextmanager
def pair(server: EmbeddedPostgres) -> Iterator[tuple[Database, Database]]:
    """The suite without capture, and with it."""
    with psycopg.connect(server.url(), autocommit=True) as admin:
        admin.execute("create role suite_app")
        admin.execute("create database without_capture")
        migrations.upgrade(server.url("without_capture"))
        with psycopg.connect(server.url("without_capture"), autocommit=True) as conn:
            conn.execute((HERE / "suite.sql").read_bytes())
        admin.execute("create database with_capture template without_capture")
    capture(server.url("with_capture"), MAPPING)
    databases = (
        Database(server.socket_url("without_capture")),
        Database(server.socket_url("with_capture")),
    )
    yield databases
    for database in databases:
        database.close()
