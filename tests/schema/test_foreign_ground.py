"""The database is another owner's: what they left in it does not run as us, nor pass for ours."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress

import psycopg
import pytest
from psycopg import sql

from cdc.daemon.store.session import open_session
from cdc.deliver import Guard
from cdc.errors import CdcError, DatabaseError
from cdc.mapping import default_mapping
from cdc.postgres import sqlfiles
from cdc.sandbox.embedded import EmbeddedPostgres
from cdc.sandbox.suite import tables_sql
from cdc.schema import migrations
from cdc.webhooks.model import Rules
from cdc.webhooks.registry import Registry
from tests.capture.kit import Connection, connect, psql
from tests.cli.command import Command
from tests.support.pooler import Pooler, needs_pooler

TYPES = [
    "text", "varchar", "name", '"char"', "oid", "regtype", "regclass", "int4", "int8", "bool",
    "uuid", "timestamptz",
]  # fmt: skip
FUNCTIONS = [
    ("pg_backend_pid()", "int4", "0"),
    ("current_schema()", "name", "'public'"),
    ("getdatabaseencoding()", "name", "'UTF8'"),
    ("to_regclass(text)", "regclass", "null"),
    ("pg_get_userbyid(oid)", "name", "'cdc_owner'"),
    ("clock_timestamp()", "timestamptz", "null"),
    ("nextval(text)", "int8", "1"),
    ("format_type(oid, int4)", "text", "'text'"),
    ("current_setting(text)", "text", "null"),
    ("current_database()", "name", "null"),
    ("pg_has_role(text, text)", "bool", "true"),
    ("pg_advisory_xact_lock(int4, int4)", "text", "null"),
]


@pytest.fixture
def squatter(empty_database: str) -> Iterator[Connection]:
    """The suite's account, in a database where nothing of ours is yet, and which is its own."""
    with connect(empty_database) as admin:
        admin.execute("create role squatter")
        name = sql.Identifier(admin.info.dbname)
        admin.execute(sql.SQL("grant all on database {} to squatter").format(name))
        admin.execute("grant all on schema public to squatter")
        # The owner of a database can do this.
        path = sql.SQL("alter database {} set search_path = public, pg_catalog").format(name)
        admin.execute(path)
    with connect(empty_database) as conn:
        conn.execute("set search_path = pg_catalog; set session authorization squatter")
        yield conn
        conn.execute("reset session authorization")
        conn.execute("drop owned by squatter cascade; drop role squatter")


def set_traps(conn: Connection) -> None:
    """Sequences are not rolled back, so they show it whatever becomes of a transaction."""
    conn.execute(
        "create sequence public.sprung; grant usage on public.sprung to public;"
        "create function public.trap() returns void language plpgsql set search_path = pg_catalog"
        " as $$begin if current_user <> 'squatter' then"
        "   perform nextval('public.sprung'); end if; end$$"
    )
    for left in TYPES:
        for right in TYPES:
            conn.execute(
                f"create function public.equal({left}, {right}) returns bool language plpgsql as"
                " $$begin perform public.trap(); return false; end$$;"
                f"create operator public.= (leftarg = {left}, rightarg = {right},"
                " function = public.equal)".encode()
            )
    for named, kind, answer in FUNCTIONS:
        conn.execute(
            f"create function public.{named} returns {kind} language plpgsql as"
            f" $$begin perform public.trap(); return {answer}; end$$".encode()
        )


def sprung(conn: Connection) -> bool:
    row = conn.execute("select is_called from public.sprung").fetchone()
    assert row is not None
    return bool(row[0])


def test_the_traps_would_spring(empty_database: str, squatter: Connection) -> None:
    set_traps(squatter)
    with psycopg.connect(empty_database) as careless:
        careless.execute("select current_schema()")
    assert sprung(squatter)


def test_nothing_of_theirs_runs_as_who_installs(empty_database: str, squatter: Connection) -> None:
    set_traps(squatter)
    migrations.pending(empty_database)
    migrations.upgrade(empty_database, to="0001")
    migrations.upgrade(empty_database)
    assert migrations.upgrade(empty_database) == (migrations.head(), migrations.head())
    assert not sprung(squatter)


def test_nor_with_psql_alone(
    empty_database: str, squatter: Connection, postgres: EmbeddedPostgres
) -> None:
    set_traps(squatter)
    psql(postgres.bin_dir, empty_database, "-f", sqlfiles.root() / "install.sql")
    psql(postgres.bin_dir, empty_database, "-f", sqlfiles.root() / "uninstall.sql")
    assert not sprung(squatter)


@needs_pooler
def test_nor_with_psql_through_a_transaction_pooler(
    empty_database: str, squatter: Connection, postgres: EmbeddedPostgres
) -> None:
    """Nor is anything left set there: the session is the suite's next."""
    with connect(empty_database) as suite:
        suite.execute(tables_sql(default_mapping(), "bigint").encode())
    set_traps(squatter)
    with Pooler(postgres, "transaction") as pooler:
        url = pooler.url(squatter.info.dbname)
        for name in ("install", "triggers", "uninstall"):
            psql(postgres.bin_dir, url, "-f", sqlfiles.root() / f"{name}.sql")
            assert not sprung(squatter), name
        with connect(url) as suite:
            left = "select name, setting from pg_catalog.pg_settings where source = 'session'"
            names = ["client_encoding", "application_name"]  # the pooler's own
            rows = suite.execute(left.encode()).fetchall()
            assert [row for row in rows if row[0] not in names] == []


def test_nor_as_who_registers_or_delivers(empty_database: str, squatter: Connection) -> None:
    migrations.upgrade(empty_database)
    set_traps(squatter)
    with Registry(empty_database, Rules((), Guard())) as registry:
        assert registry.find() == []

    async def session() -> None:
        with suppress(CdcError):
            await (await open_session(empty_database, "look")).close()

    asyncio.run(session())
    assert not sprung(squatter)


@needs_pooler
def test_nor_through_a_transaction_pooler(
    empty_database: str, squatter: Connection, postgres: EmbeddedPostgres
) -> None:
    """Nothing that is set for a session holds there: the next transaction has another one."""
    with connect(empty_database) as suite:
        suite.execute(tables_sql(default_mapping(), "bigint").encode())
        suite.execute("insert into company default values")
    set_traps(squatter)
    with Pooler(postgres, "transaction") as pooler:
        url = pooler.url(squatter.info.dbname)
        with connect(url) as careless:
            assert careless.execute("show search_path").fetchall() == [("public, pg_catalog",)]
        migrations.upgrade(url, to="0001")
        cdc = Command({"CDC_DATABASE_URL": url})

        def run(*lines: str) -> None:
            for line in lines:
                # By code 1 some of them recognise a suite without a daemon.
                assert "error: " not in cdc(*line.split()).err
                assert not sprung(squatter), line

        run("migrate --plan", "migrate", "triggers plan", "triggers install", "triggers off")
        run("triggers on", "triggers status", "adopt --yes")
        number = cdc.add(url="https://93.184.216.34/")["id"]
        with connect(empty_database) as suite:
            suite.execute("set search_path = pg_catalog")
            suite.execute("insert into public.project (company_id) values (1)")
            (delivery,) = suite.execute("select id from cdc.queue").fetchone() or (0,)
        run("status", "delivery list", f"delivery show {delivery}", "explain project 1")
        run(f"explain {delivery}", "delivery replay --webhook 1 --dry-run")
        run(f"delivery replay {delivery} --dry-run", "webhook list")
        run(f"webhook show {number}", f"webhook pause {number}", f"webhook resume {number}")
        run(f"webhook rotate-secret {number}", "webhook export", f"webhook remove {number} --yes")
        run("doctor", "triggers remove --yes")


@pytest.mark.parametrize("schema", ["cdc", "cdc_capture"])
def test_a_schema_of_theirs_is_not_taken_for_ours(
    empty_database: str, squatter: Connection, postgres: EmbeddedPostgres, schema: str
) -> None:
    """They would own what lies in it: drop it, or put functions beside ours."""
    squatter.execute(f"create schema {schema}; grant all on schema {schema} to public".encode())
    if schema == "cdc":
        # A version that is there already would end the installation before it begins.
        squatter.execute(
            "create table cdc.schema_version as select pg_catalog.text '0002' as version_num;"
            "grant all on cdc.schema_version to public"
        )
    message = f"schema {schema} exists already, and belongs to squatter"
    with pytest.raises(DatabaseError, match=message):
        migrations.upgrade(empty_database)
    with pytest.raises(AssertionError, match=message):
        psql(postgres.bin_dir, empty_database, "-f", sqlfiles.root() / "install.sql")
