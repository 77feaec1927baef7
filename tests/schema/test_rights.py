"""Who may do what, role by role: what each needs, and nothing beyond."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from cdc.postgres import sqlfiles
from tests.capture.kit import ROWS, Connection, connect

TABLES = [
    "api_key", "attempt", "audit", "backfill", "contact", "dead", "gone", "idempotency",
    "installation", "lane", "layout", "mail", "notice", "queue", "registration", "retry",
    "schema_version", "session", "shard", "subscription", "task", "unresolved", "webhook",
    "webhook_secret",
]  # fmt: skip
SUITE = [
    "answervideo", "candidate", "company", "customer", "note", "project", "question", "rating"
]  # fmt: skip

# s: select, i: insert, u: update, d: delete, t: truncate; lower case of some columns only is "(s)".
WANTED = {
    "cdc_capture": {
        "gone": "(s)(i)", "queue": "(i)", "subscription": "s", "unresolved": "si(u)d",
    },
    "cdc_daemon": {
        "attempt": "si", "audit": "(i)", "backfill": "sud", "contact": "s(u)", "dead": "siud",
        "gone": "(s)d",
        "installation": "s(u)", "lane": "siud", "layout": "s", "mail": "sid",
        "notice": "sid", "queue": "siud", "retry": "siud", "schema_version": "s", "shard": "su",
        "subscription": "s", "task": "(s)(u)", "unresolved": "(s)", "webhook": "s(u)",
        "webhook_secret": "s",
    },
    "cdc_admin": {
        "api_key": "si(u)", "attempt": "si", "audit": "si", "backfill": "siu",
        "contact": "si(u)d", "dead": "siud",
        "installation": "su", "lane": "s", "layout": "s", "notice": "s", "queue": "sd",
        "registration": "s", "retry": "siud", "schema_version": "s", "session": "(s)i",
        "shard": "s", "subscription": "siud", "unresolved": "(s)", "webhook": "siud",
        "webhook_secret": "siud",
    },
    "cdc_reader": {
        "attempt": "(s)", "backfill": "s", "dead": "(s)", "installation": "s", "lane": "s",
        "layout": "s", "notice": "s", "queue": "(s)", "retry": "(s)", "schema_version": "s",
        "shard": "s", "subscription": "s", "unresolved": "(s)", "webhook": "(s)",
    },
    "cdc_serve": {
        "api_key": "si(u)", "attempt": "si", "audit": "si", "backfill": "siu",
        "contact": "si(u)d", "dead": "siud",
        "idempotency": "siud", "installation": "s", "lane": "s", "layout": "s", "notice": "s",
        "queue": "sd", "registration": "s", "retry": "siud", "schema_version": "s",
        "session": "sid",
        "shard": "s", "subscription": "sid", "task": "siud", "unresolved": "(s)",
        "webhook": "(s)(i)(u)", "webhook_secret": "(s)(i)(u)d",
    },
}  # fmt: skip

# What a role that only watches does not see.
HIDDEN = {
    "webhook": {"endpoint", "headers"},
    "retry": {"body", "refs"},
    "dead": {"body", "refs"},
    "attempt": {"detail", "excerpt"},
}


@pytest.fixture
def conn(database: str) -> Iterator[Connection]:
    with connect(database) as made:
        made.execute(ROWS.encode())
        yield made


def rights(conn: Connection, role: str, table: str) -> str:
    found = ""
    for letter, privilege in zip("siudt", ["select", "insert", "update", "delete", "truncate"],
                                 strict=True):  # fmt: skip
        row = conn.execute("select has_table_privilege(%s, %s, %s)", (role, table, privilege))
        whole = row.fetchall()[0][0]
        some = (
            privilege in ("select", "insert", "update")
            and conn.execute(
                "select has_any_column_privilege(%s, %s, %s)", (role, table, privilege)
            ).fetchall()[0][0]
        )
        found += letter if whole else f"({letter})" if some else ""
    return found


@pytest.mark.parametrize("role", WANTED)
def test_rights_on_our_tables(conn: Connection, role: str) -> None:
    found = {table: rights(conn, role, f"cdc.{table}") for table in TABLES}
    assert {table: r for table, r in found.items() if r} == WANTED[role]


def test_every_table_of_ours_is_looked_at_here(conn: Connection) -> None:
    found = conn.execute(
        "select relname from pg_class where relnamespace = 'cdc'::regnamespace"
        " and relkind in ('r', 'p', 'v', 'm') and not relispartition order by 1"
    ).fetchall()
    assert [row[0] for row in found] == TABLES


def test_only_the_daemon_empties_the_log(conn: Connection) -> None:
    for slot in range(32):
        table = f"cdc.attempt_{slot:02}"
        assert rights(conn, "cdc_daemon", table) == "st"
        assert rights(conn, "cdc_admin", table) == rights(conn, "cdc_reader", table) == ""


@pytest.mark.parametrize("role", ["cdc_daemon", "cdc_admin", "cdc_reader", "cdc_serve"])
def test_what_was_kept_of_a_row_of_the_suite_is_captures_alone(conn: Connection, role: str) -> None:
    hidden = conn.execute(
        "select attname from pg_attribute where attrelid = 'cdc.unresolved'::regclass"
        " and attnum > 0 and not has_column_privilege(%s, attrelid, attnum, 'select')",
        (role,),
    ).fetchall()
    assert hidden == [("own",)]


def test_one_file_gives_back_all_rights_of_our_roles(conn: Connection) -> None:
    """As often as wanted; doctor and `cdc run` name it as the remedy."""
    acls = (
        "select c.oid::regclass::text, 0, x.grantee::regrole::text, x.privilege_type"
        "  from pg_class c, aclexplode(c.relacl) x where relnamespace = 'cdc'::regnamespace"
        " union all select attrelid::regclass::text, attnum, x.grantee::regrole::text,"
        "       x.privilege_type from pg_attribute a, aclexplode(a.attacl) x"
        " union all select p.oid::regprocedure::text, 0, x.grantee::regrole::text,"
        "       x.privilege_type from pg_proc p, aclexplode(p.proacl) x"
        " where pronamespace = 'cdc'::regnamespace"
        " union all select nspname, 0, x.grantee::regrole::text, x.privilege_type"
        "  from pg_namespace, aclexplode(nspacl) x where nspname in ('cdc', 'cdc_capture')"
        " order by 1, 2, 3, 4"
    )
    before = conn.execute(acls.encode()).fetchall()
    for role in WANTED:
        for what in ("tables", "sequences", "functions"):
            conn.execute(f"revoke all on all {what} in schema cdc from {role}".encode())
        conn.execute(f"revoke all on schema cdc from {role}".encode())
    assert {row[2] for row in conn.execute(acls.encode())}.isdisjoint(
        WANTED.keys() - {"cdc_capture"}
    )
    conn.execute("set role cdc_owner")
    for _ in range(2):
        conn.execute(sqlfiles.schema_file("90_grants.sql").encode())
        assert conn.execute(acls.encode()).fetchall() == before
    conn.execute("reset role")


@pytest.mark.parametrize("table", HIDDEN)
def test_what_a_reader_does_not_see(conn: Connection, table: str) -> None:
    columns = conn.execute(
        "select attname, has_column_privilege('cdc_reader', attrelid, attnum, 'select')"
        "  from pg_attribute where attrelid = ('cdc.' || %s)::regclass and attnum > 0",
        (table,),
    ).fetchall()
    hidden = {name for name, visible in columns if not visible}
    assert hidden >= HIDDEN[table]


def test_the_api_reads_no_secret(conn: Connection) -> None:
    """It writes them. What it may show of a registration comes from a view without them."""
    hidden = conn.execute(
        "select attrelid::regclass::text, attname from pg_attribute"
        " where attrelid = any(array['cdc.webhook', 'cdc.webhook_secret']::regclass[])"
        "   and attnum > 0 and not has_column_privilege('cdc_serve', attrelid, attnum, 'select')"
    ).fetchall()
    assert sorted(hidden) == [
        ("cdc.webhook", "endpoint"), ("cdc.webhook", "headers"), ("cdc.webhook_secret", "secret")
    ]  # fmt: skip
    conn.execute(
        "insert into cdc.webhook (company, endpoint, headers)"
        " values ('1', 'https://user:of-the-login@x/?a=b@c', '{\"X-Key\": \"of-the-header\"}')"
    )
    conn.execute("set role cdc_serve")
    shown = conn.execute("select endpoint, headers from cdc.registration").fetchall()
    conn.execute("reset role")
    assert shown == [("https://***@x/?a=b@c", {"X-Key": "***"})]


def test_what_capture_may_write(conn: Connection) -> None:
    """Not a delivery's transaction: that comes from the database. (Its identity may be chosen: one
    that is known has been delivered, and those to come are unknown.)"""
    columns = conn.execute(
        "select attrelid::regclass::text, attname, privilege from pg_attribute,"
        "       unnest(array['insert', 'update']) privilege"
        " where attrelid = any(array['cdc.queue', 'cdc.unresolved']::regclass[]) and attnum > 0"
        "   and has_column_privilege('cdc_capture', attrelid, attnum, privilege)"
    ).fetchall()
    of_queue = {row[1:] for row in columns if row[0] == "cdc.queue"}
    assert of_queue == {
        (name, "insert")
        for name in ("id", "webhook_id", "uid", "layout", "action", "time", "refs", "included")
    }
    updated = {row[1] for row in columns if row[0] == "cdc.unresolved" and row[2] == "update"}
    assert updated == {"tries", "reason", "retry_at"}


def test_the_daemon_may_suspend_and_nothing_else_of_a_registration(conn: Connection) -> None:
    columns = conn.execute(
        "select attname from pg_attribute where attrelid = 'cdc.webhook'::regclass and attnum > 0"
        "   and has_column_privilege('cdc_daemon', attrelid, attnum, 'update')"
    ).fetchall()
    # xid: a restored dump may hold ids of the future, which the daemon puts right at its start.
    # unverified_since: an endpoint has answered its challenge.
    assert {row[0] for row in columns} == {"state", "reason", "xid", "unverified_since"}


@pytest.mark.parametrize(
    "role", ["cdc_owner", "cdc_daemon", "cdc_admin", "cdc_reader", "cdc_serve"]
)
def test_no_right_on_the_suite(conn: Connection, role: str) -> None:
    assert {table: rights(conn, role, table) for table in SUITE} == dict.fromkeys(SUITE, "")


def test_capture_reads_keys_and_nothing_else(conn: Connection) -> None:
    found = conn.execute(
        "select a.attrelid::regclass::text, a.attname from pg_attribute a"
        " where a.attrelid = any(%s::regclass[]) and a.attnum > 0 and not attisdropped"
        "   and has_column_privilege('cdc_capture', a.attrelid, a.attnum, 'select') order by 1, 2",
        (SUITE,),
    ).fetchall()
    assert found == [
        ("answervideo", "candidate_id"), ("answervideo", "id"), ("answervideo", "question_id"),
        ("candidate", "id"), ("candidate", "project_id"), ("customer", "company_id"),
        ("customer", "id"), ("note", "answervideo_id"), ("note", "candidate_id"),
        ("note", "customer_id"), ("note", "id"), ("project", "company_id"), ("project", "id"),
        ("question", "id"), ("question", "project_id"), ("rating", "candidate_id"),
        ("rating", "customer_id"), ("rating", "id"),
    ]  # fmt: skip
    for table in SUITE:
        assert rights(conn, "cdc_capture", table) in ("", "(s)")


def test_our_roles_have_no_special_attributes(conn: Connection) -> None:
    found = conn.execute(
        "select rolname from pg_roles where rolname like 'cdc\\_%'"
        " and (rolsuper or rolcreaterole or rolcreatedb or rolcanlogin or rolreplication"
        "      or rolbypassrls)"
    ).fetchall()
    assert found == []
    # None of them is a member of another: rights do not add up unseen.
    members = conn.execute(
        "select m.member::regrole, m.roleid::regrole from pg_auth_members m"
        " where m.member::regrole::text like 'cdc\\_%' or (m.roleid::regrole::text like 'cdc\\_%'"
        "   and m.member <> 'postgres'::regrole)"
    ).fetchall()
    assert members == []


def test_the_public_has_no_right_on_anything(conn: Connection) -> None:
    conn.execute("create role anybody")
    try:
        for table in TABLES:
            assert rights(conn, "anybody", f"cdc.{table}") == ""
        (seen,) = conn.execute(
            "select has_schema_privilege('anybody', 'cdc', 'usage'),"
            "       has_schema_privilege('anybody', 'cdc', 'create')"
        ).fetchall()
        assert seen == (False, False)
        functions = conn.execute(
            "select proname from pg_proc"
            " where pronamespace in ('cdc'::regnamespace, 'cdc_capture'::regnamespace)"
            "   and has_function_privilege('anybody', oid, 'execute')"
        ).fetchall()
        assert functions == []
        sequences = conn.execute(
            "select relname from pg_class where relnamespace = 'cdc'::regnamespace"
            "   and case relkind when 'S'"
            "       then has_sequence_privilege('anybody', oid, 'usage, select, update') end"
        ).fetchall()
        assert sequences == []
    finally:
        conn.execute("drop role anybody")


def test_no_other_role_can_attach_our_functions_to_a_table(conn: Connection) -> None:
    """With one, rows could be written to the queue that no table of the suite ever held."""
    conn.execute(
        "create role anybody; grant create, usage on schema public, cdc, cdc_capture to anybody"
    )
    try:
        conn.execute("set role anybody")
        conn.execute("create table forged (id bigint, company_id bigint)")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute(
                "create trigger x after insert on forged referencing new table as new_rows"
                " for each statement execute function cdc_capture.capture_project()"
            )
    finally:
        conn.execute("reset role; drop owned by anybody; drop role anybody")


def test_the_daemon_can_do_its_work(conn: Connection) -> None:
    """The rights are enough, by the statements themselves."""
    conn.execute("insert into cdc.webhook (company, endpoint) values ('1', 'https://x/')")
    conn.execute("alter table candidate drop constraint candidate_project_id_fkey")
    conn.execute(
        "insert into cdc.subscription select '1', 'candidate_changed', id from cdc.webhook"
    )
    conn.execute("insert into candidate values (30, 77)")
    conn.execute("insert into project values (77, 1)")
    conn.execute("set role cdc_daemon")
    for statement in (
        "select cdc.resolve(array(select id from cdc.unresolved))",
        "select setval('cdc.bell', 1), last_value from cdc.bell",
        "select setval('cdc.queue_id', greatest(last_value, 5)) from cdc.queue_id",
        "select system_identifier from pg_control_system()",
        "select pg_current_snapshot(), pg_notification_queue_usage()",
        "update cdc.webhook set state = 'suspended', reason = 'gone'",
        "select epoch from cdc.shard where id = 1 for share",
        "update cdc.shard set epoch = epoch + 1 where id = 1",
        "truncate cdc.attempt_00",
        "delete from cdc.queue",
        "listen cdc",
    ):
        conn.execute(statement.encode())
    for forbidden in (
        "select from candidate",
        "select id from rating",
        "update cdc.webhook set endpoint = 'https://thief/'",
        "insert into cdc.subscription values ('2', 'note_changed', 1)",
        "delete from cdc.webhook_secret",
        "delete from cdc.unresolved",
        'insert into cdc.unresolved (resource, source, action, "time", reason)'
        " values ('rating', 'x', 'c', now(), '')",
        "select cdc_capture.resolve_rating('{}')",
        "create table cdc.mine ()",
        "update cdc.installation set mapping = ''",
        "truncate cdc.queue",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute(forbidden.encode())
    conn.execute("reset role")
    assert conn.execute("select count(*) from cdc.unresolved").fetchall() == [(0,)]
