"""The DBA's guides: the SQL runs, accounts can do what is documented, and the numbers are ours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from inspect import signature

import psycopg
import pytest
import yaml
from psycopg import sql

from cdc.cli import COMMANDS, triggers
from cdc.mapping import default_mapping
from cdc.postgres.advisory_locks import LOCK_CLASS, MEMBER
from cdc.postgres.lock_retry import LockRetry
from cdc.sandbox.embedded import EmbeddedPostgres
from cdc.sandbox.suite import tables_sql
from cdc.schema.migrations import SUPPORTED
from cdc.settings import Settings
from tests.docs.pages import blocks, codes, page, table
from tests.docs.running import Terminal, as_account
from tests.house.files import TOP

GUIDE = "\n".join(page(f"docs/{name}.md") for name in ("dba", "capture", "database"))
SHOWN = [block.text for block in blocks(GUIDE, "sql")]
# For a server that has none of our roles yet.
BEFOREHAND = next(text for text in SHOWN if text.startswith("create role cdc_owner"))
SQL = [text for text in SHOWN if text != BEFOREHAND]
ROLES = ("cdc_owner", "cdc_capture", "cdc_daemon", "cdc_admin", "cdc_reader", "cdc_serve")


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    """A server of its own: roles belong to the whole server."""
    with EmbeddedPostgres() as made:
        yield made


@pytest.fixture(scope="module")
def database(server: EmbeddedPostgres) -> str:
    """A suite whose owner is no superuser, as the guide asks for no more."""
    with psycopg.connect(server.url(), autocommit=True) as conn:
        conn.execute("create role dba login createrole password 'of-the-dba'")
        conn.execute("create database suite")
        conn.execute("grant create on database suite to dba")
    url = server.url("suite")
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("grant create on schema public to dba")
        conn.execute("set role dba")
        conn.execute(tables_sql(default_mapping()).encode())
    return url


@pytest.fixture(scope="module")
def installed(database: str) -> Terminal:
    """Capture installed by an account that has what the guide says is needed."""
    dba = Terminal(as_account(database, "dba", "of-the-dba"))
    dba.run("migrate")
    for command in ("plan", "install", "status", "off", "on", "sql"):
        dba.run("triggers", command)
    with psycopg.connect(database, autocommit=True) as conn:
        for statement in SQL[0].splitlines():
            conn.execute(statement.encode())
    return Terminal(database)


def account(here: Terminal, name: str) -> Terminal:
    """The guide's account of this name."""
    found = re.search(rf"create role {name} login password '([^']+)'", SQL[0])
    assert found
    password = found[1].replace(" ", "%20")
    return Terminal(as_account(here.database_url, name, password))


def test_the_roles_are_those_documented(installed: Terminal) -> None:
    with psycopg.connect(installed.database_url) as conn:
        rows = conn.execute("select rolname from pg_roles where rolname like 'cdc\\_%'").fetchall()
    assert {row[0] for row in rows} == set(ROLES)
    assert tuple(codes(row["role"])[0] for row in table(GUIDE, "role", "sees")) == ROLES


def test_every_command_is_in_the_table_of_what_commands_need() -> None:
    rows = table(GUIDE, "command", "needs", "locks on tables of the suite")
    named = {code.split()[1] for row in rows for code in codes(row["command"]) if " " in code}
    assert not set(COMMANDS) - named


def test_commands_that_a_reader_may_run(installed: Terminal) -> None:
    """What the table gives to `cdc_reader`."""
    reader = account(installed, "suite_watch")
    for words in (
        ("notice", "list"),
        ("explain", "rating", "17"),
        ("delivery", "list"),
        ("backfill", "list"),
    ):
        reader.run(*words)
    assert "permission denied" in reader.run("contact", "list", fails=True)


def test_an_account_to_administer_with(installed: Terminal) -> None:
    admin = account(installed, "suite_admin")
    # An address that has no name to look up, and where no process listens.
    admin.environment = {"CDC_ALLOW_HTTP": "true", "CDC_ALLOWED_NETWORKS": "127.0.0.1/32"}
    add = "webhook add --company 1 --event note_changed --url http://127.0.0.1:9/"
    admin.run(*add.split())
    for command in (
        *("webhook list", "webhook show 1", "webhook update 1 --cap 3"),
        *("webhook pause 1", "webhook resume 1", "webhook rotate-secret 1"),
        *("webhook export --secrets", "delivery list", "adopt"),
        "webhook remove 1 --yes",
    ):
        admin.run(*command.split())


def test_an_account_to_watch_with(installed: Terminal) -> None:
    watch = account(installed, "suite_watch")
    assert "no daemon runs" in watch.run("status", fails=True)
    watch.run("triggers", "status")
    said = watch.run("webhook", "list", fails=True)
    assert "permission denied" in said
    assert "docs/dba.md" in said


async def test_an_account_to_run_with(installed: Terminal) -> None:
    daemon = account(installed, "suite_daemon")
    async with daemon.running("run", ready='"connected"'):
        for command in ("status", "doctor"):
            await account(installed, "suite_watch").run_beside(command)


@pytest.mark.parametrize("text", SQL[1:])
def test_the_sql_shown_runs(installed: Terminal, text: str) -> None:
    with psycopg.connect(installed.database_url) as conn:
        for statement in text.split(";\n"):
            if statement.strip():
                conn.execute(statement.encode())
        conn.rollback()


def test_removal_leaves_the_suite_as_it_was(installed: Terminal) -> None:
    """The last of them: the triggers are gone afterwards."""
    dba = Terminal(as_account(installed.database_url, "dba", "of-the-dba"))
    dba.run("triggers", "remove", "--yes")
    with psycopg.connect(installed.database_url) as conn:
        left = conn.execute(
            "select tgrelid::regclass, tgname from pg_trigger t join pg_class c on c.oid = tgrelid"
            " where c.relnamespace = 'public'::regnamespace and tgname like 'cdc%'"
        ).fetchall()
        assert not left
        for table_name in ("company", "project", "candidate"):
            readable = conn.execute(
                sql.SQL("select has_any_column_privilege('cdc_capture', {}, 'select')").format(
                    sql.Literal(table_name)
                )
            ).fetchone()
            assert readable == (False,)


def test_roles_made_beforehand_spare_the_right_to_make_any() -> None:
    """The whole installation by an account that is nothing but the owner of the suite's tables."""
    with EmbeddedPostgres() as server:
        with psycopg.connect(server.url(), autocommit=True) as conn:
            conn.execute("create role suite_owner login password 'plain'")
            conn.execute("create database suite")
            conn.execute("grant create on database suite to suite_owner")
        url = server.url("suite")
        owner = Terminal(as_account(url, "suite_owner", "plain"))
        with psycopg.connect(url, autocommit=True) as conn:
            conn.execute("grant create on schema public to suite_owner; set role suite_owner")
            conn.execute(tables_sql(default_mapping()).encode())
        said = owner.run("migrate", fails=True)
        assert "suite_owner lacks CREATEROLE" in said
        assert "'A managed database'" in said
        with psycopg.connect(url, autocommit=True) as conn:
            conn.execute(BEFOREHAND.encode())
        owner.run("migrate")
        owner.run("triggers", "install")
        owner.run("triggers", "status")
        # From here on the owner of the tables has no rights of ours.
        with psycopg.connect(url, autocommit=True) as conn:
            conn.execute("revoke cdc_owner, cdc_capture from suite_owner")
            conn.execute("insert into cdc.webhook (company, endpoint) values ('1', 'https://x/')")
            conn.execute("insert into cdc.subscription values ('1', 'project_changed', 1)")
        with psycopg.connect(owner.database_url, autocommit=True) as conn:
            conn.execute("insert into company (id) values (1)")
            conn.execute("insert into project (id, company_id) values (17, 1)")
            for forbidden in ("select secret from cdc.webhook_secret", "select from cdc.queue"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    conn.execute(forbidden.encode())
        with psycopg.connect(url) as conn:
            assert conn.execute("select count(*) from cdc.queue").fetchone() == (1,)
        # What it may not do any more names the line that gives it back.
        line = "grant cdc_owner, cdc_capture to suite_owner"
        commands = ("migrate", "triggers install", "triggers off", "triggers remove --yes")
        for command in commands:
            assert line in owner.run(*command.split(), fails=True), command
        with psycopg.connect(url, autocommit=True) as conn:
            conn.execute(line.encode())
        for command in commands:
            owner.run(*command.split())


def test_the_queue_is_seen_from_the_database(installed: Terminal) -> None:
    """By an account that may watch; the same query as for postgres_exporter."""
    (text,) = [text for text in SQL if "as oldest_seconds" in text]
    queries = yaml.safe_load((TOP / "deploy/monitoring/postgres_exporter.yml").read_text())
    assert text.rstrip().rstrip(";") == queries["cdc_queue"]["query"].rstrip()
    assert f"l.classid = {LOCK_CLASS} and l.objid = {MEMBER}" in text
    query = text.rstrip().rstrip(";").encode()
    watch = account(installed, "suite_watch")
    with psycopg.connect(installed.database_url, autocommit=True) as conn:
        conn.execute(
            "with hook as (insert into cdc.webhook (company, endpoint) values ('1', 'https://x/')"
            " returning id) insert into cdc.queue (webhook_id, layout, action, time, refs)"
            " select id, 1, 'c', now() - interval '1 hour', '{1}' from hook"
        )
        with psycopg.connect(watch.database_url) as watching:
            daemons, oldest, size = watching.execute(query).fetchone() or (None, 0, 0)
            assert (daemons, round(oldest / 3600), size > 0) == (0, 1, True)
        conn.execute("select pg_advisory_lock_shared(%s, %s)", [LOCK_CLASS, MEMBER])
        conn.execute("update cdc.webhook set state = 'paused'")
        with psycopg.connect(watch.database_url) as watching:
            daemons, oldest, _ = watching.execute(query).fetchone() or (None, 0, 0)
            assert (daemons, oldest) == (1, 0)
        conn.execute("delete from cdc.queue")
        conn.execute("delete from cdc.webhook")


def test_locks_documented_are_those_taken() -> None:
    from cdc.capture.plan import DROP_LOCK, TRIGGER_LOCK

    rows = {
        codes(row["command"])[0]: row["locks on tables of the suite"]
        for row in table(GUIDE, "command", "needs", "locks on tables of the suite")
    }
    assert rows["cdc triggers install"].startswith(TRIGGER_LOCK)
    assert rows["cdc triggers remove"].startswith(DROP_LOCK)
    assert {
        lock for command, lock in rows.items() if command.split()[-1] not in ("install", "remove")
    } == {"none"}


def test_the_documented_numbers_are_the_defaults() -> None:
    documented = " ".join(GUIDE.split())
    lock_retry, defaults = LockRetry(), Settings()
    assert f"waits for {lock_retry.lock_timeout_ms} ms at most (`--lock-timeout`)" in documented
    assert f"{lock_retry.tries} times (`--tries`)" in documented
    given = signature(triggers.install).parameters
    assert given["lock_timeout"].default == lock_retry.lock_timeout_ms
    assert given["tries"].default == lock_retry.tries
    assert f"PostgreSQL {SUPPORTED} or newer" in documented
    assert f"after {defaults.log_days} days (`CDC_LOG_DAYS`)" in documented


def test_what_lies_unresolved_is_red() -> None:
    """What the guide says of cdc.unresolved and `cdc status`."""
    from cdc.diagnosis.health import Bell, DaemonState, Health, Unresolved, problems

    bell = Bell(armed=True, queue=0.0, prepared=0)
    all_ = (DaemonState("host:17", tuple(range(64)), None),)
    fine = Health((), "same", True, 1, all_, bell, (), Unresolved(0, None, ""), 0)
    assert not problems(fine)
    assert problems(replace(fine, unresolved=Unresolved(1, 5.0, "gone")))
