"""Who may do what, role by role: what each needs, and nothing beyond."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.capture.kit import ROWS, Connection, connect

TABLES = [
    "attempt", "dead", "installation", "lane", "layout", "queue", "retry", "schema_version",
    "shard", "subscription", "unresolved", "webhook", "webhook_secret",
]  # fmt: skip
SUITE = [
    "answervideo", "candidate", "company", "customer", "note", "project", "question", "rating"
]  # fmt: skip

# s: select, i: insert, u: update, d: delete, t: truncate; lower case of some columns only is "(s)".
WANTED = {
    "cdc_capture": {"queue": "(i)", "subscription": "s", "unresolved": "si(u)d"},
    "cdc_daemon": {
        "attempt": "si", "dead": "siud", "installation": "s", "lane": "siud", "layout": "s",
        "queue": "siud", "retry": "siud", "schema_version": "s", "shard": "su", "subscription": "s",
        "unresolved": "s", "webhook": "s(u)", "webhook_secret": "s",
    },
    "cdc_admin": {
        "attempt": "s", "dead": "siud", "installation": "su", "lane": "s", "layout": "s",
        "queue": "s", "retry": "siud", "schema_version": "s", "shard": "s", "subscription": "siud",
        "unresolved": "s", "webhook": "siud", "webhook_secret": "siud",
    },
    "cdc_reader": {
        "attempt": "(s)", "dead": "(s)", "installation": "s", "lane": "s", "layout": "s",
        "queue": "(s)", "retry": "(s)", "schema_version": "s", "shard": "s", "subscription": "s",
        "unresolved": "s", "webhook": "(s)",
    },
}  # fmt: skip

# What nobody sees who is only to watch.
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


@pytest.mark.parametrize("table", HIDDEN)
def test_what_a_reader_does_not_see(conn: Connection, table: str) -> None:
    columns = conn.execute(
        "select attname, has_column_privilege('cdc_reader', attrelid, attnum, 'select')"
        "  from pg_attribute where attrelid = ('cdc.' || %s)::regclass and attnum > 0",
        (table,),
    ).fetchall()
    hidden = {name for name, visible in columns if not visible}
    assert hidden >= HIDDEN[table]


def test_what_capture_may_write(conn: Connection) -> None:
    """Not a delivery's identity, nor its transaction: both come from the database."""
    columns = conn.execute(
        "select attrelid::regclass::text, attname, privilege from pg_attribute,"
        "       unnest(array['insert', 'update']) privilege"
        " where attrelid = any(array['cdc.queue', 'cdc.unresolved']::regclass[]) and attnum > 0"
        "   and has_column_privilege('cdc_capture', attrelid, attnum, privilege)"
    ).fetchall()
    of_queue = {row[1:] for row in columns if row[0] == "cdc.queue"}
    assert of_queue == {
        (name, "insert") for name in ("id", "webhook_id", "layout", "action", "time", "refs")
    }
    updated = {row[1] for row in columns if row[0] == "cdc.unresolved" and row[2] == "update"}
    assert updated == {"tries", "reason", "retry_at"}


def test_the_daemon_may_suspend_and_nothing_else_of_a_registration(conn: Connection) -> None:
    columns = conn.execute(
        "select attname from pg_attribute where attrelid = 'cdc.webhook'::regclass and attnum > 0"
        "   and has_column_privilege('cdc_daemon', attrelid, attnum, 'update')"
    ).fetchall()
    # xid: a restored dump may hold ids of the future, which the daemon puts right at its start.
    assert {row[0] for row in columns} == {"state", "reason", "xid"}


@pytest.mark.parametrize("role", ["cdc_owner", "cdc_daemon", "cdc_admin", "cdc_reader"])
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
        ("customer", "id"), ("project", "company_id"), ("project", "id"), ("question", "id"),
        ("question", "project_id"),
    ]  # fmt: skip
    for table in SUITE:
        assert rights(conn, "cdc_capture", table) in ("", "(s)")


def test_our_roles_are_nobody_special(conn: Connection) -> None:
    found = conn.execute(
        "select rolname from pg_roles where rolname like 'cdc\\_%'"
        " and (rolsuper or rolcreaterole or rolcreatedb or rolcanlogin or rolreplication"
        "      or rolbypassrls)"
    ).fetchall()
    assert found == []
    # None of them is a member of another: rights do not add up behind anybody's back.
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


ROLES = ["cdc_owner", "cdc_capture", "cdc_daemon", "cdc_admin", "cdc_reader"]

# Function: who owns it, whether it runs as its owner, who may execute it beside its owner.
FUNCTIONS = {
    "cdc.kept": ("cdc_owner", False, ["cdc_capture"]),
    "cdc.renamed": ("cdc_owner", False, ["cdc_capture"]),
    "cdc.resolve": ("cdc_owner", True, ["cdc_daemon"]),
    "cdc.resolve_at_commit": ("cdc_owner", True, []),
    "cdc.webhook_changed": ("cdc_owner", False, []),
    "cdc_capture.capture_*": ("cdc_capture", True, []),
    "cdc_capture.resolve_*": ("cdc_capture", True, ["cdc_owner"]),
}


def test_functions_and_who_may_execute_them(conn: Connection) -> None:
    rows = conn.execute(
        "select p.pronamespace::regnamespace::text, p.proname, p.proowner::regrole::text,"
        "       p.prosecdef, p.proconfig[1],"
        "       array(select r from unnest(%s::text[]) r"
        "              where r <> p.proowner::regrole::text"
        "                and has_function_privilege(r, p.oid, 'execute'))"
        "  from pg_proc p"
        " where pronamespace in ('cdc'::regnamespace, 'cdc_capture'::regnamespace)",
        (ROLES,),
    ).fetchall()
    found: dict[str, tuple[str, bool, list[str]]] = {}
    for schema, name, owner, definer, path, executors in rows:
        assert path == "search_path=pg_catalog, pg_temp"
        # No bodies of generated functions differ in their rights.
        kind = name if schema == "cdc" else name.partition("_")[0] + "_*"
        assert found.setdefault(f"{schema}.{kind}", (owner, definer, executors)) == (
            owner,
            definer,
            executors,
        )
    assert found == FUNCTIONS


# Schema, sequence: which privileges who has, apart from the owner.
SCHEMAS = {
    "cdc": {role: ["usage"] for role in ROLES[1:]},
    # Whoever may name the functions in it and runs as their owner could change them.
    "cdc_capture": {},
}
SEQUENCES = {
    "bell": {
        "cdc_capture": ["select"], "cdc_daemon": ["select", "update"], "cdc_admin": ["select"],
        "cdc_reader": ["select"],
    },
    "queue_id": {
        "cdc_capture": ["usage"], "cdc_daemon": ["select", "update"], "cdc_admin": ["select"],
        "cdc_reader": ["select"],
    },
    "webhook_id_seq": {},
}  # fmt: skip


def held(
    conn: Connection, function: str, names: list[str], privileges: list[str]
) -> dict[str, dict[str, list[str]]]:
    """By object and role, all who have any of these privileges."""
    found: dict[str, dict[str, list[str]]] = {}
    for name in names:
        rows = {
            role: [
                privilege
                for privilege in privileges
                if conn.execute(
                    f"select {function}(%s, %s, %s)".encode(), (role, name, privilege)
                ).fetchall()
                == [(True,)]
            ]
            for role in ROLES[1:]
        }
        found[name.removeprefix("cdc.")] = {role: had for role, had in rows.items() if had}
    return found


def test_schemas(conn: Connection) -> None:
    names = [
        row[0]
        for row in conn.execute(
            "select nspname from pg_namespace where nspowner = 'cdc_owner'::regrole"
        ).fetchall()
    ]
    assert held(conn, "has_schema_privilege", names, ["usage", "create"]) == SCHEMAS


def test_sequences(conn: Connection) -> None:
    names = [
        "cdc." + row[0]
        for row in conn.execute(
            "select relname from pg_class where relnamespace = 'cdc'::regnamespace"
            " and relkind = 'S'"
        ).fetchall()
    ]
    found = held(conn, "has_sequence_privilege", names, ["select", "usage", "update"])
    assert found == SEQUENCES


def test_everything_belongs_to_the_owner(conn: Connection) -> None:
    """Apart from the generated functions: whoever owns a thing can do all with it."""
    found = conn.execute(
        "select relname, relowner::regrole::text from pg_class"
        " where relnamespace in ('cdc'::regnamespace, 'cdc_capture'::regnamespace)"
        "   and relowner <> 'cdc_owner'::regrole"
        " union all select typname, typowner::regrole::text from pg_type"
        " where typnamespace in ('cdc'::regnamespace, 'cdc_capture'::regnamespace)"
        "   and typowner <> 'cdc_owner'::regrole"
    ).fetchall()
    assert found == []


# Rights that could be passed on would have no end.
def test_nobody_can_pass_a_right_on(conn: Connection) -> None:
    found = conn.execute(
        "select x.grantee::regrole::text from pg_class c, aclexplode(c.relacl) x"
        " where relnamespace in ('cdc'::regnamespace, 'cdc_capture'::regnamespace)"
        "   and x.is_grantable and x.grantee <> c.relowner"
        " union all select x.grantee::regrole::text from pg_proc p, aclexplode(p.proacl) x"
        " where pronamespace in ('cdc'::regnamespace, 'cdc_capture'::regnamespace)"
        "   and x.is_grantable and x.grantee <> p.proowner"
        " union all select x.grantee::regrole::text from pg_namespace n, aclexplode(n.nspacl) x"
        " where nspname like 'cdc%' and x.is_grantable and x.grantee <> n.nspowner"
    ).fetchall()
    assert found == []


def test_nobody_else_can_attach_our_functions_to_a_table(conn: Connection) -> None:
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
