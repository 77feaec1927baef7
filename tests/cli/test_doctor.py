"""`cdc doctor`: for each check the condition is made in a real database, and its verdict seen."""

from __future__ import annotations

import time
from collections.abc import Callable

import psycopg
import pytest

from cdc.diagnosis.doctor import checks
from cdc.sandbox.embedded import EmbeddedPostgres
from cdc.webhooks.vault import new_key
from tests.cli.command import Command
from tests.cli.test_status import daemon, status
from tests.support import installation

__all__ = ["daemon"]  # the fixture

# What is done to a database where all is well; the check that sees it; its verdict; words of it;
# words of the problem that status states.
HARMS: list[tuple[str, ...]] = [
    ("update cdc.schema_version set version_num = '0001'", "schema", "fail", "cdc migrate"),
    ("update cdc.installation set system_identifier = 1", "identity", "fail", "cdc adopt",
     "this database is a copy"),
    ("update cdc.installation set database_oid = 1", "identity", "fail", "cdc adopt"),
    ("alter database {here} set synchronous_commit = off", "durability", "warn",
     "alter database {here} reset synchronous_commit"),
    ("alter table cdc.queue set (autovacuum_enabled = off)", "vacuum", "fail",
     "alter table cdc.queue reset (autovacuum_enabled)"),
    ("alter database {here} connection limit 5", "connections", "warn", "CONNECTION LIMIT"),
    ("alter table cdc.attempt detach partition cdc.attempt_07", "log", "fail",
     "attach partition cdc.attempt_07 for values in (7)", "partition of cdc.attempt mis"),
    ("select setval('cdc.queue_id', 9000000000000000000)", "sequences", "fail", "98%"),
    ("drop view cdc.registration; alter table cdc.webhook alter column id set data type int;"
     "select setval('cdc.webhook_id_seq', 2000000000);"
     " alter sequence cdc.webhook_id_seq as int", "sequences", "fail", "cdc.webhook_id_seq"),
    ("insert into cdc.queue (id, webhook_id, layout, action, time, refs)"
     " values (10::bigint ^ 15, 1, 1, 'c', now(), '{{}}')", "sequences", "warn", "restored dump"),
    ("revoke select on cdc.webhook from cdc_daemon", "grants", "fail",
     "cdc_daemon: select on cdc.webhook"),
    ("revoke insert on cdc.queue from cdc_capture; revoke insert (refs) on cdc.queue from"
     " cdc_capture", "grants", "fail", "cdc_capture: insert (id) on cdc.queue"),
    ("revoke execute on function cdc.resolve(bigint[]) from cdc_daemon", "grants", "fail",
     "execute on cdc.resolve(bigint[])"),
    ("revoke select on cdc.queue_id from cdc_capture", "grants", "fail", "cdc.queue_id"),
    ("revoke execute on function pg_control_system() from public", "grants", "fail",
     "grant execute on function pg_control_system() to cdc_daemon",
     "cdc_daemon, cdc_admin, cdc_reader, cdc_serve may not execute pg_control_system()"),
    ("drop index candidate_project_id_idx, project_company_id_idx", "foreign keys", "warn",
     'create index concurrently on "public"."project" ("company_id"); create index concurrently on '
     '"public"."candidate" ("project_id")'),
    ("revoke usage on schema cdc from cdc_admin", "grants", "fail", "usage on cdc"),
    ("revoke truncate on cdc.attempt_03 from cdc_daemon", "grants", "fail", "cdc.attempt_03"),
    ("grant select on cdc.webhook_secret to public", "others", "fail", "every role (public)"),
    ("grant select on cdc.queue to public", "others", "warn", "SELECT on cdc.queue"),
    ("grant usage on schema cdc_capture to cdc_capture", "others", "fail", "cdc_capture has USAGE"),
    ("grant execute on function cdc_capture.capture_note() to public", "others", "fail",
     "capture_note"),
    ("grant select on note to cdc_daemon", "others", "warn", "cdc_daemon has SELECT on public"),
    ("update cdc.installation set mapping = null", "mapping", "fail", "cdc triggers install"),
    ("alter table note drop column customer_id", "tables", "fail", "customer_id"),
    ("alter table note disable trigger cdc_capture_update", "triggers", "fail", "note (disabled)",
     "note is disabled"),
    ("drop table note", "triggers", "fail", "note (missing)"),
    ("alter table note rename to notes", "triggers", "fail", "note (missing)"),
    ("alter table candidate enable row level security;"
     " alter table candidate force row level security", "row security", "fail", "candidate",
     "row-level security of public.candidate"),
    ("alter table cdc.queue enable row level security; drop policy grants_decide on cdc.queue",
     "row security", "fail", "cdc.queue hides rows from cdc_admin, cdc_capture",
     "row-level security of cdc.queue hides"),
    ("drop policy grants_decide on cdc.lane", "row security", "warn", "95_policies.sql"),
    ("alter table cdc.lane replica identity nothing", "publications", "warn",
     "alter table cdc.lane replica identity full"),
    ("update cdc.webhook set company = 'no such'", "companies", "fail", "company no such (webhook",
     "company no such (webhook 1)"),
    ("alter database {here} set session_replication_role = replica", "replication", "fail",
     "alter database {here} reset session_replication_role"),
    ("alter table cdc.webhook disable trigger webhook_changed", "objects", "fail",
     "webhook_changed"),
    ("drop index cdc.queue_xid", "objects", "fail", "cdc.queue_xid"),
    ("update pg_index set indisvalid = false where indexrelid = 'cdc.queue_lane'::regclass",
     "objects", "fail", "cdc.queue_lane"),
    ("alter table cdc.queue set unlogged", "objects", "fail", "cdc.queue is UNLOGGED"),
    ("insert into rating default values", "unresolved", "fail", "1 change",
     "1 change without a company"),
    ("update cdc.webhook set state = 'suspended'", "backlog", "fail", "cdc webhook resume",
     "webhook 1 is suspended"),
    ("delete from cdc.webhook_secret", "secrets", "fail", "rotate-secret",
     "1 webhook without a signing secret"),
    ("update cdc.webhook_secret set expires_at = now()", "secrets", "fail", "rotate-secret"),
    ("update cdc.webhook set endpoint = 'https://10.0.0.1/'", "endpoints", "warn", "10.0.0.1"),
    ("update cdc.webhook set endpoint = 'https://nowhere.invalid/'", "endpoints", "warn",
     "nowhere.invalid"),
    ("update cdc.webhook set tls_profile = 'gone'", "tls", "fail", "CDC_TLS_PROFILES"),
    ("select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory'", "daemons",
     "fail", "cdc run"),
]  # fmt: skip

# Checks that need more than a statement of SQL, and the test of each.
APART = {
    "server": "tests/cli/test_doctor_server.py",
    "encoding": "tests/daemon/test_start.py",
    "pooler": "tests/daemon/test_pooler.py",
    "wire": "tests/cli/test_doctor_server.py",
    "clock": "tests/cli/test_doctor_server.py",
    "locks": "tests/writers/test_locks.py",
    "recording": "tests/cli/test_doctor_server.py",
    "commits": "tests/cli/test_doctor_server.py",
    "transactions": "tests/cli/test_doctor_server.py",
    "snapshots": "tests/cli/test_doctor_server.py",
    "notifications": "tests/writers/test_daemons.py",
    "event triggers": "tests/postgres/test_event_triggers.py",
    "sizes": "tests/cli/test_doctor_room.py",
    "roles": "tests/cli/test_doctor_room.py",
    "accounts": "tests/cli/test_doctor_room.py",
    "partitions": "test_a_partition_without_trigger",
    "doorbell": "tests/cli/test_doctor_server.py",
    "proxy": "tests/cli/test_proxy.py",
    "encryption": "tests/cli/test_webhook_secrets.py",
    "files": "tests/cli/test_exposed.py",
}


def findings(cdc: Command) -> dict[str, dict[str, str]]:
    done = cdc("doctor", "--json")
    found = {check["check"]: check for check in done.json["checks"]}
    assert done.code == int(any(check["verdict"] == "fail" for check in found.values()))
    assert done.json["ok"] == (done.code == 0)
    for check in done.json["checks"]:
        assert check["message"]
        assert check["verdict"] == "ok" or check["todo"], check
    return found


def verdicts(cdc: Command) -> dict[str, str]:
    return {name: check["verdict"] for name, check in findings(cdc).items()}


def verdict_of(cdc: Command, check: str) -> tuple[str, str]:
    """The verdict of one check, and what it says."""
    found = findings(cdc)[check]
    return found["verdict"], f"{found['message']}\n{found['todo']}"


def test_every_check_has_a_test() -> None:
    names = [name for group in checks() for name in group]
    assert len(names) == len(set(names))
    assert set(names) == {harm[1] for harm in HARMS} | set(APART)


def test_nothing_is_found_where_all_is_well(
    cdc: Command, db: psycopg.Connection, daemon: psycopg.Connection
) -> None:
    cdc = Command({**cdc.env, "CDC_SECRET_KEYS": new_key()})
    cdc.add()
    found = verdicts(cdc)
    # The server of the tests does not flush: that is seen, too.
    assert found.pop("durability") == "warn"
    assert set(found.values()) == {"ok"}, found
    assert "0 failed" in cdc.good("doctor").err


@pytest.mark.parametrize(
    ("harm", "check", "verdict", "words", "stated"),
    [(*harm, "")[:5] for harm in HARMS],
    ids=lambda v: str(v)[:50],
)
def test_what_is_wrong_is_found(
    cdc: Command,
    db: psycopg.Connection,
    daemon: psycopg.Connection,
    harm: str,
    check: str,
    verdict: str,
    words: str,
    stated: str,
) -> None:
    cdc.add()
    db.execute("select pg_stat_reset_single_table_counters('cdc.queue'::regclass)")
    here = db.info.dbname
    db.execute(harm.format(here=here).encode())
    found, said = verdict_of(cdc, check)
    assert found == verdict, said
    assert words.format(here=here) in said
    if verdict == "fail":  # and is not well for `cdc status`
        problems = status(cdc)["problems"]
        assert any(stated in problem for problem in problems), problems


def test_settings_of_a_role_are_reported_but_accepted(cdc: Command, db: psycopg.Connection) -> None:
    db.execute("create role loader; alter role loader set session_replication_role = replica")
    try:
        verdict, said = verdict_of(cdc, "replication")
        assert verdict == "warn"
        assert "alter role loader reset session_replication_role" in said
    finally:
        db.execute("drop role loader")


def test_triggers_that_always_fire_are_not_passed_by(cdc: Command, db: psycopg.Connection) -> None:
    for table in ("project", "candidate", "answervideo", "rating", "note"):
        for trigger in ("cdc_capture_insert", "cdc_capture_update"):
            db.execute(f"alter table {table} enable always trigger {trigger}".encode())
    db.execute(f"alter database {db.info.dbname} set session_replication_role = replica".encode())
    assert verdict_of(cdc, "replication")[0] == "ok"


def test_what_a_subscription_applies_is_not_captured() -> None:
    """Not even by triggers that fire always: they are triggers for statements."""
    with EmbeddedPostgres(settings={"wal_level": "logical"}) as server:
        installation.prepare_template(server.url())
        installation.adopt(server.url())
        with psycopg.connect(server.url(), autocommit=True) as here:
            here.execute("create database origin")
            here.execute("alter table note enable always trigger cdc_capture_insert")
            here.execute("insert into cdc.webhook (company, endpoint) values ('1', 'https://x/')")
            here.execute("insert into cdc.subscription values ('1', 'note_changed', 1)")
            with psycopg.connect(server.url("origin"), autocommit=True) as there:
                there.execute("create table note (id bigint primary key)")
                there.execute("create publication notes for table note")
                there.execute("select pg_create_logical_replication_slot('notes', 'pgoutput')")
                there.execute("insert into note values (17)")
            address = server.url("origin").replace("'", "''")
            here.execute(
                f"create subscription notes connection '{address}' publication notes"
                " with (create_slot = false, copy_data = false)".encode()
            )
            deadline = time.monotonic() + 30
            while not here.execute("select from note where id = 17").fetchall():
                assert time.monotonic() < deadline
                time.sleep(0.02)
            assert here.execute("select from cdc.queue").fetchall() == []
            assert here.execute("select from cdc.unresolved").fetchall() == []
            verdict, said = verdict_of(Command({"CDC_DATABASE_URL": server.url()}), "replication")
            assert verdict == "warn"
            assert "subscription notes writes to public.note" in said
            here.execute("alter subscription notes disable")
            here.execute("alter subscription notes set (slot_name = none)")
            here.execute("drop subscription notes")


def test_a_partition_without_trigger(
    cdc: Command, db: psycopg.Connection, daemon: psycopg.Connection
) -> None:
    db.execute(
        "drop table note; create table note (id bigint, answervideo_id bigint,"
        " customer_id bigint, candidate_id bigint) partition by list (id)"
    )
    db.execute("create table note_1 partition of note for values in (1)")
    cdc.good("triggers", "install")
    assert verdicts(cdc)["partitions"] == "ok"
    db.execute("create table note_2 partition of note for values in (2)")
    found = verdicts(cdc)
    assert (found["triggers"], found["partitions"]) == ("ok", "fail")
    cdc.good("triggers", "install")
    assert verdicts(cdc)["partitions"] == "ok"


def test_a_virtual_column_in_the_mapping(cdc: Command, db: psycopg.Connection) -> None:
    if db.info.server_version < 180000:
        pytest.skip("virtual generated columns came with PostgreSQL 18")
    db.execute(
        "alter table note drop column customer_id;"
        " alter table note add column customer_id bigint generated always as (1) virtual"
    )
    verdict, said = verdict_of(cdc, "tables")
    assert verdict == "fail"
    assert "virtual generated column" in said


def test_tables_of_the_same_name_are_named(cdc: Command, db: psycopg.Connection) -> None:
    assert "same name" not in verdict_of(cdc, "tables")[1]
    db.execute("create schema tenant; create table tenant.rating (id bigint primary key)")
    verdict, said = verdict_of(cdc, "tables")
    assert verdict == "ok"
    assert "of the same name, and not captured: tenant.rating" in said


def test_what_an_account_may_not_see_is_no_failure(
    cdc: Command, daemon: psycopg.Connection, as_role: Callable[[str], Command]
) -> None:
    found = findings(as_role("cdc_reader"))
    wrong = {name for name, check in found.items() if check["verdict"] == "fail"}
    assert not wrong
    unseen = {name for name, check in found.items() if "Grant pg_read_all_stats" in check["todo"]}
    # PostgreSQL hides what other accounts do, and does not say so: the doctor does.
    assert unseen >= {"transactions", "snapshots"}
    for name in ("endpoints", "secrets", "encryption"):
        assert found[name]["verdict"] == "warn"
    for name in ("triggers", "grants", "roles", "others", "objects", "replication"):
        assert found[name]["verdict"] == "ok", found[name]


def test_a_function_of_postgresql_that_was_taken_away(
    db: psycopg.Connection, as_role: Callable[[str], Command]
) -> None:
    """Another account does not help: the daemons' lacks it, too."""
    reader = as_role("cdc_reader")
    db.execute("revoke execute on function pg_control_system() from public")
    grant = "grant execute on function pg_control_system() to cdc_daemon, cdc_admin, cdc_reader"
    verdict, said = verdict_of(reader, "identity")
    assert verdict == "warn"
    assert grant in said
    assert grant in reader("status").err
