"""Where the databases of a benchmark are made: on a PostgreSQL of our own, or beside the user's."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import quote, urlencode

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from cdc.errors import CdcError, DatabaseError
from cdc.mapping import default_mapping
from cdc.postgres import connections
from cdc.sandbox.embedded import EmbeddedPostgres
from cdc.sandbox.suite import capture, tables_sql
from cdc.schema import migrations
from tests.bench.child import cpu_of_all
from tests.bench.constant import TRIGGER as CONSTANT
from tests.bench.load.plain import TRIGGER

Kind = Literal["bare", "notify", "constant", "captured"]
"""The suite's tables without triggers; with a row trigger that notifies, or that inserts a row of
constants; with capture."""

ROLES = ("cdc_daemon", "cdc_admin", "cdc_reader", "cdc_serve", "cdc_capture", "cdc_owner")
PREFIX = "cdc_bench_"

# Nothing of the disk: what a flush costs, the writer's COMMIT pays with or without us.
FREE_FLUSH = {"fsync": "off"}
# A flush of 1 ms, as on a disk in a cloud: a commit waits for others to join it, even when alone.
SLOW_FLUSH = {"fsync": "on", "commit_delay": "1000", "commit_siblings": "0"}
# Room enough that no checkpoint falls into a run, and another one into none.
ROOMY = {
    "shared_buffers": "512MB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "1h",
    "max_connections": "200",
}

# A day of the attempt log as it is after its first 128 pages, some 6,000 rows: while it is in them,
# each row changes their Bloom filter, and PostgreSQL packs that again (45 us).
PAST_FIRST_PAGES = (
    "select brin_desummarize_range(i.oid, 0) from pg_class i"
    " where i.relnamespace = 'cdc'::regnamespace and i.relname ~ '^attempt_[0-9]+_uid_idx$'"
)


class NotHere(CdcError):
    """The workload needs a server whose settings are ours."""


class Server:
    """A PostgreSQL in which databases are made and dropped again.

    url: an address of it, of an account that may create databases and roles.
    """

    def __init__(self, url: str, embedded: EmbeddedPostgres | None = None) -> None:
        self.url = url
        self._embedded = embedded
        self._number = 0
        with connections.connect(url) as conn:
            self.version = _one(conn, "select current_setting('server_version')").split()[0]
            self._roles_before = self._roles(conn)
            if embedded is None:
                self._clean_up(conn)

    @classmethod
    @contextmanager
    def embedded(cls, settings: Mapping[str, str]) -> Iterator[Self]:
        """One of our own, for as long as the block lasts."""
        with EmbeddedPostgres(durable=True, settings={**ROOMY, **settings}) as postgres:
            yield cls(postgres.url(), postgres)

    @classmethod
    @contextmanager
    def theirs(cls, url: str) -> Iterator[Self]:
        """The user's own. Roles that were not there before are dropped in the end."""
        server = cls(url)
        try:
            yield server
        finally:
            server._drop_roles()

    @property
    def pid(self) -> int | None:
        """Its main process; None: it is not ours."""
        return None if self._embedded is None else self._embedded.pid

    def cpu(self) -> float | None:
        """Seconds of CPU that the server has used so far; None: it is not ours."""
        return None if self.pid is None else cpu_of_all(self.pid)

    @contextmanager
    def database(self, kind: Kind, companies: int, candidates: int) -> Iterator[Database]:
        """A database with the suite's tables and rows in it; dropped when the block ends.

        Candidates 1, 2, 3, ... are dealt out to companies 1, 2, 3, ..., which have a project each.
        """
        self._number += 1
        name = f"{PREFIX}{os.getpid()}_{self._number}"
        with connections.connect(self.url) as conn:
            _named(conn, "create database {}", name)
            _named(conn, "comment on database {} is 'cdc bench: may be dropped'", name)
        try:
            made = Database(_address(self.url, name), name, companies)
            made.prepare(kind, candidates)
            yield made
        finally:
            with connections.connect(self.url) as conn:
                _named(conn, "drop database {} with (force)", name)

    def session(self) -> connections.Connection:
        """A session beside those databases."""
        return connections.connect(self.url)

    def _clean_up(self, conn: connections.Connection) -> None:
        """What an earlier run that was killed has left here."""
        rows = conn.execute(
            "select d.datname from pg_database d where d.datname like %s"
            " and not exists (select from pg_stat_activity a where a.datid = d.oid)",
            (PREFIX.replace("_", r"\_") + "%",),
        ).fetchall()
        for (name,) in rows:
            _named(conn, "drop database {}", name)

    @staticmethod
    def _roles(conn: psycopg.Connection[Any]) -> set[str]:
        rows = conn.execute("select rolname from pg_roles where rolname = any(%s)", (list(ROLES),))
        return {name for (name,) in rows}

    def _drop_roles(self) -> None:
        with connections.connect(self.url) as conn:
            ours = self._roles(conn) - self._roles_before
            for role in (role for role in ROLES if role in ours):
                _named(conn, "drop role {}", role)


@dataclass(slots=True)
class Database:
    """A suite's database. hooks: companies, and webhooks where it has capture, one for each."""

    url: str
    name: str
    hooks: int

    def prepare(self, kind: Kind, candidates: int) -> None:
        if kind in ("captured", "constant"):
            migrations.upgrade(self.url)
            self.run(PAST_FIRST_PAGES)
        with psycopg.connect(self.url, autocommit=True) as conn:
            mapping = default_mapping()
            conn.execute(tables_sql(mapping).encode())
            for statement in (
                "insert into company (id) select generate_series(1, {0})",
                "insert into project (id, company_id) select g, g from generate_series(1, {0}) g",
                "insert into candidate (id, project_id, name)"
                " select g, 1 + (g - 1) % {0}, 'Applicant ' || g from generate_series(1, {1}) g",
                "vacuum analyze company, project, candidate",
            ):
                conn.execute(sql.SQL(statement).format(self.hooks, candidates))
            if kind == "notify":
                conn.execute(TRIGGER.encode())
            if kind == "constant":
                conn.execute(CONSTANT.encode())
        if kind == "captured":
            capture(self.url, mapping)

    def register(self, base: str, hooks: int | None = None, *, cap: int = 10) -> None:
        """Registers webhooks 1, 2, 3, ..., one for each company, in place of all registered before.

        base: of their endpoints, to which the webhook's number is added.
        """
        with psycopg.connect(self.url, autocommit=True) as conn, conn.transaction():
            conn.execute("delete from cdc.webhook")
            conn.execute(
                "insert into cdc.webhook (id, company, endpoint, max_concurrency)"
                " select g, g::text, %s || g, %s from generate_series(1, %s) g",
                (base, cap, hooks or self.hooks),
            )
            conn.execute(
                "insert into cdc.webhook_secret (webhook_id, secret)"
                " select id, 'whsec_' || encode(uuid_send(gen_random_uuid())"
                "                            || uuid_send(gen_random_uuid()), 'base64')"
                "   from cdc.webhook"
            )
            conn.execute(
                "insert into cdc.subscription (company, event, webhook_id)"
                " select company, 'candidate_changed', id from cdc.webhook"
            )
        self.run("analyze cdc.webhook, cdc.webhook_secret, cdc.subscription")

    def change(self, count: int, *, first: int = 1) -> None:
        """Updates so many candidates by one statement: committed all at once."""
        self.run(
            "update candidate set name = clock_timestamp()::text where id >= %s and id < %s",
            first,
            first + count,
        )

    def run(self, statement: str, *params: object) -> None:
        with psycopg.connect(self.url, autocommit=True) as conn:
            conn.execute(statement.encode(), params or None)

    def ask(self, statement: str, *params: object) -> Any:
        """The first column of the first row."""
        with psycopg.connect(self.url, autocommit=True) as conn:
            return _one(conn, statement, *params)

    def queued(self) -> int:
        """Deliveries that are not settled."""
        return int(self.ask("select count(*) from cdc.queue"))

    def empty(self) -> None:
        """Forgets what is queued and what was logged."""
        self.run("truncate cdc.queue, cdc.retry, cdc.dead, cdc.unresolved, cdc.attempt, cdc.lane")
        self.run(PAST_FIRST_PAGES)


def pgbench(server: Server) -> Path | None:
    """PostgreSQL's own load generator, if it is on this machine."""
    if server._embedded is not None:
        folders = [server._embedded.bin_dir]
    else:
        folders = [Path(folder) for folder in os.get_exec_path()]
    return next((f / "pgbench" for f in folders if os.access(f / "pgbench", os.X_OK)), None)


def _address(url: str, name: str) -> str:
    """The address of another database of the same server."""
    given = {key: str(value) for key, value in conninfo_to_dict(url).items() if value is not None}
    given.pop("dbname", None)
    return f"postgresql:///{quote(name)}?{urlencode(given, quote_via=quote)}"


def _named(conn: connections.Connection, statement: str, name: str) -> None:
    conn.alone(sql.SQL(statement).format(sql.Identifier(name)))


def _one(conn: psycopg.Connection[Any], statement: str, *params: object) -> Any:
    row = conn.execute(statement.encode(), params or None).fetchone()
    if row is None:
        raise DatabaseError(f"no answer to: {statement}")
    return row[0]
