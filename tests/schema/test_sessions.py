"""Sessions of ours do not depend on what a database or a role has set for its sessions."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from psycopg import sql
from psycopg.conninfo import make_conninfo

from cdc.daemon.store.session import open_session
from cdc.postgres import connections, sqlfiles
from cdc.postgres.session_settings import COMMAND, PLANS, RESULTS
from cdc.sandbox.embedded import EmbeddedPostgres
from cdc.schema import migrations
from tests.capture.kit import psql
from tests.cli.command import Command
from tests.support import installation, odd
from tests.support.pooler import Pooler, needs_pooler

# Beyond those of the server in `make test-odd`: these would stop the tests' own connections, too.
OTHERS = {
    "search_path": "nowhere",
    "statement_timeout": "3s",
    "lock_timeout": "3s",
    "idle_in_transaction_session_timeout": "3s",
    "session_replication_role": "replica",
    "row_security": "off",
    "default_table_access_method": "other",
}
ASKED = "select name, setting from pg_catalog.pg_settings"


@pytest.fixture
def odd_role(postgres: EmbeddedPostgres, database: str) -> Iterator[str]:
    """An address of the prepared database; the account's sessions begin with unusual settings."""
    with psycopg.connect(database, autocommit=True) as admin:
        installation.adopt(database)
        admin.execute("create role odd superuser login password 'guess'")
        admin.execute("create access method other type table handler heap_tableam_handler")
        settings = {**odd.SETTINGS, **OTHERS}
        if admin.info.server_version >= 170000:
            settings["transaction_timeout"] = "3s"
        for name, value in settings.items():
            setting = sql.SQL("alter role odd set {} = {}")
            admin.execute(setting.format(sql.Identifier(*name.split(".")), sql.Literal(value)))
        yield make_conninfo(database, user="odd", password="guess")
        admin.execute("alter role odd reset all")
        admin.execute("drop owned by odd")
        admin.execute("drop role odd")


def usual(url: str) -> str:
    """The same account's address, for a session that begins as most do."""
    others = dict.fromkeys(OTHERS, 0) | {
        "search_path": "public",
        "session_replication_role": "origin",
        "row_security": "on",
        "default_table_access_method": "heap",
    }
    return make_conninfo(url, options=odd.usual(**others))


def connect(url: str) -> psycopg.Connection:
    return psycopg.connect(usual(url), autocommit=True)


def differing(found: Mapping[str, str], wanted: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Settings that are not as they should be; a time is compared as a number of milliseconds."""
    as_shown = {
        name: str(int(value[:-1]) * 1000) if value.endswith("s") and value[:-1].isdigit() else value
        for name, value in wanted.items()
    }
    return {
        name: (found[name], value)
        for name, value in as_shown.items()
        if name in found and found[name] != value
    }


def test_each_transaction_of_a_command(odd_role: str) -> None:
    wanted = {**COMMAND, "transaction_isolation": "read committed"}
    with connections.connect(odd_role) as conn:
        assert differing(dict(conn.execute(ASKED.encode()).fetchall()), wanted) == {}
        with conn.transaction():
            assert differing(dict(conn.execute(ASKED.encode()).fetchall()), wanted) == {}
            with conn.transaction():
                conn.execute("select 1")
        assert conn.execute("select timestamptz '2026-02-03'").fetchall()[0][0].month == 2
        # A failure leaves nothing open.
        with pytest.raises(psycopg.errors.DivisionByZero):
            conn.execute("select 1/0")
        assert conn.info.transaction_status is psycopg.pq.TransactionStatus.IDLE
        assert conn.execute("select 1").fetchall() == [(1,)]


def test_a_statement_that_can_be_in_no_transaction(odd_role: str) -> None:
    """An index may take longer to make than a role's statements may."""
    with connections.connect(odd_role) as conn:
        conn.alone("vacuum pg_catalog.pg_am")
        shown = "select pg_catalog.current_setting('statement_timeout')"
        assert psycopg.Connection.execute(conn, shown).fetchall() == [("0",)]


def test_each_transaction_of_sqlalchemy(odd_role: str) -> None:
    wanted = {**COMMAND, "transaction_isolation": "read committed"}
    engine = connections.engine(odd_role)
    with engine.begin() as conn:
        found: dict[str, str] = {row[0]: row[1] for row in conn.execute(sa.text(ASKED))}
        assert differing(found, wanted) == {}
        (moment,) = conn.execute(sa.text("select timestamptz '2026-02-03'")).one()
        assert (moment.month, moment.utcoffset().total_seconds()) == (2, 0)
    engine.dispose()


async def test_a_daemons_sessions(odd_role: str) -> None:
    for owning, idle in ((False, "0"), (True, "3000")):
        conn = await open_session(odd_role, "watch", owning=owning)
        cursor = await conn.execute(ASKED.encode())
        found: dict[str, str] = {name: value for name, value in await cursor.fetchall()}
        wanted = {
            **RESULTS,
            **PLANS,
            "idle_in_transaction_session_timeout": "2s",
            "idle_session_timeout": idle,
            "statement_timeout": "4s",
            "lock_timeout": "2s",
            "transaction_isolation": "read committed",
            "session_replication_role": "origin",
        }
        assert differing(found, wanted) == {}
        await conn.close()


async def test_who_may_not_fire_our_triggers_is_refused(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute("create role silent login password 'guess' in role cdc_daemon")
        admin.execute("alter role silent set session_replication_role = replica")
    url = make_conninfo(database, user="silent", password="guess")
    try:
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="session_replication_role"):
            await open_session(url, "watch")
        said = Command({"CDC_DATABASE_URL": url}).refused("status")
        assert "session_replication_role" in said
    finally:
        with psycopg.connect(database, autocommit=True) as admin:
            admin.execute("drop role silent")


def test_commands(odd_role: str) -> None:
    """DateStyle alone used to end nearly all of them with a traceback."""
    cdc = Command({"CDC_DATABASE_URL": odd_role})
    cdc.good("migrate")
    assert cdc.json("triggers", "plan")["steps"] == []
    assert {t["state"] for t in cdc.json("triggers", "status")["tables"]} == {"installed"}
    with connect(odd_role) as suite:
        suite.execute("insert into company default values")
        number = cdc.add(url="https://93.184.216.34/")["id"]
        suite.execute("insert into project (company_id) values (1)")
        [(delivery,)] = suite.execute("select id from cdc.queue").fetchall()
    for line in (
        "status --json", "doctor --json", "delivery list", f"delivery show {delivery}",
        "explain project 1", f"explain {delivery}", "webhook list", f"webhook show {number}",
        f"delivery replay {delivery} --dry-run",
        f"delivery replay --webhook {number} --dry-run", f"webhook pause {number}",
        f"webhook resume {number}", f"webhook rotate-secret {number}", "webhook export",
        f"webhook remove {number} --yes", "triggers off", "triggers on", "adopt --yes",
        "triggers remove --yes",
    ):  # fmt: skip
        done = cdc(*line.split())
        assert "error: " not in done.err, line


def of_another_kind(url: str) -> list[tuple[Any, ...]]:
    """Tables of ours that are not heaps: how those behave is not known."""
    with connect(url) as conn:
        return conn.execute(
            "select c.relname from pg_class c join pg_am a on a.oid = c.relam"
            " where c.relnamespace = 'cdc'::regnamespace and a.amname = 'other'"
        ).fetchall()


def test_what_migrate_makes(odd_role: str) -> None:
    with connect(odd_role) as conn:
        conn.execute("drop schema cdc, cdc_capture cascade")
    migrations.upgrade(odd_role)
    migrations.upgrade(odd_role)
    assert of_another_kind(odd_role) == []


def test_scripts_for_psql(odd_role: str, postgres: EmbeddedPostgres) -> None:
    """They set what they depend on, and leave a DBA's time-outs alone."""
    with connect(odd_role) as conn:
        limits = "select name from pg_settings where unit = 'ms' and name = any(%s)"
        names = conn.execute(limits, [[*OTHERS, "transaction_timeout"]]).fetchall()
    patient = make_conninfo(odd_role, options=" ".join(f"-c {name}=0" for (name,) in names))
    for name in ("uninstall", "install", "triggers"):
        psql(postgres.bin_dir, patient, "-f", sqlfiles.root() / f"{name}.sql")
    assert of_another_kind(odd_role) == []
    states = Command({"CDC_DATABASE_URL": odd_role}).json("triggers", "status")["tables"]
    assert {t["state"] for t in states} == {"installed"}


@needs_pooler
def test_through_a_transaction_pooler(odd_role: str, postgres: EmbeddedPostgres) -> None:
    """Each transaction sets them for itself, and leaves the session as it was."""
    with Pooler(postgres, "transaction") as pooler:
        name = psycopg.conninfo.conninfo_to_dict(odd_role)["dbname"]
        with connections.connect(pooler.url(str(name))) as conn:
            assert differing(dict(conn.execute(ASKED.encode()).fetchall()), COMMAND) == {}
            with psycopg.connect(pooler.url(str(name)), autocommit=True) as suite:
                left = "select name from pg_catalog.pg_settings where source = 'session'"
                names = {row[0] for row in suite.execute(left.encode()).fetchall()}
    assert names <= {"client_encoding", "application_name", "DateStyle", "TimeZone"}


async def test_the_addresss_own_connect_timeout_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon's sessions used to take 5 seconds, whatever the address said."""
    given: list[dict[str, Any]] = []

    async def connect(url: str, **options: Any) -> None:
        given.append({**psycopg.conninfo.conninfo_to_dict(url), **options})

    monkeypatch.setattr(psycopg.AsyncConnection, "connect", connect)
    await connections.connect_async("postgresql://db.example/suite?connect_timeout=30", "watch")
    await connections.connect_async("postgresql://db.example/suite", "watch")
    assert [int(one["connect_timeout"]) for one in given] == [30, 5]


def test_the_driver_writes_nothing_to_stderr() -> None:
    """An error of a command came with `error ignored terminating <psycopg.Pipeline ...>`."""
    warns = (
        "import cdc.postgres.connections, logging;"
        "logging.getLogger('psycopg').warning('error ignored')"
    )
    done = subprocess.run([sys.executable, "-c", warns], capture_output=True, check=True)
    assert done.stderr == b""
