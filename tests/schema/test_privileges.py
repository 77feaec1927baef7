"""Functions, schemas, sequences and owners: the whole matrix, generated from the catalogue."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.capture.kit import Connection, connect


@pytest.fixture
def conn(database: str) -> Iterator[Connection]:
    with connect(database) as made:
        yield made


ROLES = ["cdc_owner", "cdc_capture", "cdc_daemon", "cdc_admin", "cdc_reader", "cdc_serve"]

# Function: who owns it, whether it runs as its owner, who may execute it beside its owner.
FUNCTIONS = {
    "cdc.bounded": ("cdc_owner", False, ["cdc_daemon"]),
    "cdc.included": ("cdc_owner", False, ["cdc_capture"]),
    "cdc.brought": ("cdc_owner", False, ["cdc_daemon", "cdc_serve"]),
    "cdc.owed": ("cdc_owner", False, ["cdc_serve"]),
    "cdc.kept": ("cdc_owner", False, ["cdc_capture"]),
    "cdc.unfiltered": ("cdc_owner", False, ["cdc_capture"]),
    "cdc.renamed": ("cdc_owner", False, ["cdc_capture"]),
    "cdc.resolve": ("cdc_owner", True, ["cdc_daemon"]),
    "cdc.refresh_statistics": ("cdc_owner", True, ["cdc_daemon", "cdc_admin", "cdc_serve"]),
    "cdc.count_backfill": ("cdc_owner", True, ["cdc_admin", "cdc_serve"]),
    "cdc.read_backfill": ("cdc_owner", True, ["cdc_daemon"]),
    "cdc.company_names": ("cdc_owner", True, ["cdc_serve"]),
    "cdc.new_id": ("cdc_owner", False, ["cdc_capture", "cdc_daemon"]),
    "cdc.webhook_changed": ("cdc_owner", False, []),
    "cdc_capture.capture_*": ("cdc_capture", True, []),
    "cdc_capture.backfill_*": ("cdc_capture", True, ["cdc_owner"]),
    "cdc_capture.resolve_*": ("cdc_capture", True, ["cdc_owner"]),
}


def test_functions_and_who_may_execute_them(conn: Connection) -> None:
    rows = conn.execute(
        "select p.pronamespace::regnamespace::text, p.proname, p.proowner::regrole::text,"
        "       p.prosecdef,"
        "       coalesce(p.proconfig[1], case when p.prosqlbody is not null then 'parsed' end),"
        "       array(select r from unnest(%s::text[]) r"
        "              where r <> p.proowner::regrole::text"
        "                and has_function_privilege(r, p.oid, 'execute'))"
        "  from pg_proc p"
        " where pronamespace in ('cdc'::regnamespace, 'cdc_capture'::regnamespace)",
        (ROLES,),
    ).fetchall()
    found: dict[str, tuple[str, bool, list[str]]] = {}
    for schema, name, owner, definer, path, executors in rows:
        # Where it is parsed already, no search_path counts.
        assert path in ("search_path=pg_catalog, pg_temp", "parsed")
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
    # A role that may name the functions in it and runs as their owner could change them.
    "cdc_capture": {},
}
SEQUENCES = {
    "audit_id_seq": {},
    "backfill_id_seq": {},
    "notice_id_seq": {},
    "contact_id_seq": {},
    "bell": {
        "cdc_capture": ["select"], "cdc_daemon": ["select", "update"], "cdc_admin": ["select"],
        "cdc_reader": ["select"], "cdc_serve": ["select"],
    },
    "queue_id": {
        "cdc_capture": ["select"], "cdc_daemon": ["select", "update"],
        "cdc_admin": ["select", "update"],
        "cdc_reader": ["select"], "cdc_serve": ["select"],
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
    """Apart from the generated functions: an owner can do all with its objects."""
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
def test_no_right_can_be_passed_on(conn: Connection) -> None:
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
