"""No role runs code as cdc_capture by naming objects like ours or like PostgreSQL's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.capture.kit import Connection, Suite, connect

TYPES = [
    "text", "int4", "int8", "bool", "jsonb", "json", "timestamptz", "interval", '"char"', "xid8",
    "oid", "regclass", "name", "numeric", "float8", "uuid",
]  # fmt: skip
TABLES = [
    "new_rows", "found", "own", "candidate", "project", "company", "subscription", "queue",
    "unresolved", "bell", "pg_class", "pg_attribute", "pg_namespace", "captured", "unplaced",
]  # fmt: skip
FUNCTIONS = [
    "clock_timestamp() returns timestamptz",
    "format(text, text, text) returns text",
    "to_jsonb(anyelement) returns jsonb",
    "array_agg(anynonarray) returns anyarray",
    "jsonb_build_object(text, bigint, text, bigint, text, bigint) returns jsonb",
    "pg_notify(text, text) returns void",
    "nextval(regclass) returns bigint",
    "unnest(anyarray) returns setof anyelement",
]  # fmt: skip


@pytest.fixture
def attacker(own_suite: Suite) -> Iterator[Connection]:
    """A writer who may create temporary things, as every role may by default."""
    own_suite.run(
        """
        create role attacker; grant all on all tables in schema public to attacker;
        create table loot (who text);
        grant insert, select on loot to public;
        """
    )
    with connect(own_suite.url) as conn:
        conn.execute("set session authorization attacker")
        set_traps(conn)
        yield conn
    own_suite.run("drop owned by attacker; drop role attacker")


def set_traps(conn: Connection) -> None:
    conn.execute(
        """
        create temporary table made_first ();
        create function pg_temp.trap() returns boolean language plpgsql as
          $$begin insert into public.loot values (current_user); return true; end$$;
        create function pg_temp.equal(bigint, bigint) returns boolean language sql as
          'select pg_temp.trap()';
        create operator pg_temp.= (leftarg = bigint, rightarg = bigint, function = pg_temp.equal);
        create function pg_temp.equal(text, text) returns boolean language sql as
          'select pg_temp.trap()';
        create operator pg_temp.= (leftarg = text, rightarg = text, function = pg_temp.equal);
        """
    )
    for name in TABLES:
        conn.execute(
            f"create temporary view {name} as select 1::bigint as id, pg_temp.trap() as t".encode()
        )
    for name in FUNCTIONS:
        nothing = "" if "setof" in name or "void" in name else "null"
        body = f"begin perform pg_temp.trap(); return {nothing}; end"
        conn.execute(f"create function pg_temp.{name} language plpgsql as $${body}$$".encode())
    for name in TYPES:
        base = f"pg_catalog.{name}"
        conn.execute(f"create domain pg_temp.{name} as {base} check (pg_temp.trap())".encode())


def write_in_every_way(attacker: Connection, suite: Suite) -> None:
    attacker.execute("set search_path = public, pg_temp")
    attacker.execute("update public.rating set stars = 1 where id = 9")
    attacker.execute(
        "insert into public.rating (id, candidate_id)"
        " select g, 19 from pg_catalog.generate_series(100, 199) g"
    )
    attacker.execute("begin; set constraints all deferred")
    attacker.execute("insert into public.candidate (id, project_id) values (30, 21)")
    attacker.execute("insert into public.project (id, company_id) values (21, 1); commit")
    suite.run("alter table candidate rename column project_id to job_id")
    attacker.execute("update public.rating set stars = 1 where id = 9")
    attacker.execute("update public.rating set stars = 1")
    suite.run("alter table candidate rename column job_id to project_id")


def test_temporary_things_named_like_ours(own_suite: Suite, attacker: Connection) -> None:
    own_suite.register("1")
    write_in_every_way(attacker, own_suite)
    assert own_suite.all("select distinct who from loot where who <> 'attacker'") == []
    assert own_suite.resolve() == 103
    assert len(own_suite.queued()) == 1 + 100 + 2 + 102


def test_the_traps_would_spring(own_suite: Suite, attacker: Connection) -> None:
    """Without pg_temp at the end of the path it is searched first, for types."""
    own_suite.register("1")
    own_suite.run("alter function cdc_capture.capture_rating() set search_path = pg_catalog")
    attacker.execute("update public.rating set stars = 1 where id = 9")
    assert ("cdc_capture",) in own_suite.all("select distinct who from loot")
