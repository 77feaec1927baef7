"""The owner of a mapped table has code of theirs run by capture: what can it get at?

The owner of a table decides what happens when it is read. That cannot be prevented, so what reads
it must not be able to do anything worth having.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from cdc.diagnosis.doctor.capture import tables
from cdc.diagnosis.doctor.check import Patient
from cdc.settings import Settings
from cdc.webhooks import company
from tests.capture.kit import Connection, Suite, connect

# What the code tries, each on its own. All of it must be refused.
WANTED = [
    "select secret from cdc.webhook_secret",
    "select endpoint from cdc.webhook",
    "select headers from cdc.webhook",
    "select count(*) from cdc.webhook",
    "select body from cdc.retry",
    "select body from cdc.dead",
    "select excerpt from cdc.attempt",
    "select refs from cdc.queue",
    "select mapping_source from cdc.installation",
    "insert into cdc.webhook (company, endpoint) values ('1', 'https://thief.example/')",
    "update cdc.webhook set endpoint = 'https://thief.example/'",
    "update cdc.webhook set state = 'removed'",
    "insert into cdc.webhook_secret (webhook_id, secret) values (1, 'mine')",
    "update cdc.webhook_secret set secret = 'mine'",
    "delete from cdc.webhook_secret",
    "insert into cdc.subscription values ('1', 'note_changed', 1)",
    "delete from cdc.subscription",
    "update cdc.installation set mapping = null",
    "insert into cdc.layout values (1, 'x', '{a,b,c}')",
    "delete from cdc.queue",
    "update cdc.queue set webhook_id = 1",
    # A webhook-id that was used before: the receiver would drop it as a repeat.
    "insert into cdc.queue (webhook_id, xid, layout, action, time, refs)"
    " values (1, pg_current_xact_id(), 1, 'c', now(), '{}')",
    "insert into cdc.queue (webhook_id, xid, layout, action, time, refs)"
    " values (1, '1', 1, 'c', now(), '{}')",
    "select setval('cdc.queue_id', 1)",
    "select setval('cdc.bell', 1)",
    "select cdc.resolve('{}')",
    "update cdc.shard set epoch = epoch + 1",
    # To run as another role than its own.
    "alter function cdc_capture.resolve_rating(bigint[]) security invoker",
    "alter function cdc_capture.capture_rating() security invoker",
    "alter function cdc_capture.capture_rating() set search_path = public",
    "alter function cdc_capture.capture_rating() set schema public",
    "alter function cdc.resolve(bigint[]) security invoker",
    "create or replace function cdc_capture.capture_rating() returns trigger language plpgsql"
    " as 'begin return null; end'",
    "create function cdc_capture.resolve_mine(bigint[]) returns bigint language sql as 'select 1'",
    "create function cdc.mine() returns int language sql as 'select 1'",
    "create table cdc.mine ()",
    "grant execute on function cdc_capture.capture_rating() to public",
    "grant execute on all functions in schema cdc_capture to public",
    "grant usage on schema cdc_capture to public",
    "grant cdc_capture to suite_app",
    "grant cdc_owner to cdc_capture",
    "drop function cdc_capture.capture_rating() cascade",
    "drop schema cdc_capture cascade",
    "drop table cdc.webhook cascade",
    "set role cdc_owner",
    "set role cdc_daemon",
    "set session authorization cdc_owner",
    "reset role",
    "reassign owned by cdc_capture to suite_app",
    "reassign owned by cdc_capture to cdc_owner",
    "alter role cdc_capture bypassrls",
    "alter role cdc_capture login",
    # Of the suite itself: keys, and nothing else.
    "select stars from public.rating",
    "update public.project set company_id = 2",
]

# What the thief reports: by warnings, since capture rolls back whatever its reads do.
LOOT: list[tuple[str, str, str]] = []
SETTING = """
create role suite_app login password 'x';
create role late_daemon login password 'x' in role cdc_daemon;
grant usage, create on schema public to suite_app;
grant create, temporary on database {database} to suite_app;
create table loot (who text);
grant all on loot to public;
create table wanted (what text);
grant select on wanted to public;
create function steal() returns bigint language plpgsql as $$
declare
  w text;
  before text := coalesce(current_setting('loot.thieves', true), '');
begin
  -- What it tries springs the trap again. Once as each role is enough, or it would go on until the
  -- stack is full, at each level for each of what it tries.
  if before like '%<' || current_user || '>%' then
    return 17;
  end if;
  perform set_config('loot.thieves', before || '<' || current_user || '>', false);
  for w in select what from public.wanted loop
    begin
      execute w;
      raise warning 'loot %', json_build_array(current_user, w, 'done');
    exception when others then
      raise warning 'loot %', json_build_array(current_user, w, sqlstate);
    end;
  end loop;
  raise warning 'loot %', json_build_array(current_user, 'ran', 'done');
  insert into public.loot values (current_user);
  perform set_config('loot.thieves', before, false);
  return 17;
end $$;
create function steal_now() returns bigint language plpgsql immutable as
  'begin return public.steal(); end';
"""


@pytest.fixture
def owned(own_suite: Suite) -> Iterator[Suite]:
    """A suite whose tables belong to an attacker who is after the secrets of its webhooks."""
    LOOT.clear()
    suite = own_suite
    suite.conn.add_notice_handler(_loot)
    hook = suite.register("1")
    suite.run(f"insert into cdc.webhook_secret (webhook_id, secret) values ({hook}, 'whsec_x')")
    suite.run(SETTING.format(database=suite.one("select current_database()")))
    for what in WANTED:
        suite.conn.execute("insert into wanted values (%s)", (what,))
    for table in suite.all(
        "select relname from pg_class where relnamespace = 'public'::regnamespace"
        " and relkind = 'r' and relname not in ('loot', 'wanted')"
    ):
        suite.run(f"alter table public.{table[0]} owner to suite_app")
    for function in ("steal()", "steal_now()"):
        suite.run(f"alter function {function} owner to suite_app")
    yield suite
    suite.run("drop owned by suite_app cascade; drop role suite_app, late_daemon")


@pytest.fixture
def app(owned: Suite) -> Iterator[Connection]:
    with logged_in(owned, "suite_app") as conn:
        yield conn


def logged_in(suite: Suite, role: str) -> Connection:
    """In earnest: with SET SESSION AUTHORIZATION one could go back to the superuser."""
    conn = connect(make_conninfo(suite.url, user=role, password="x"))
    conn.add_notice_handler(_loot)
    return conn


def _loot(notice: psycopg.errors.Diagnostic) -> None:
    name, _, found = (notice.message_primary or "").partition(" ")
    if name == "loot":
        LOOT.append(tuple(json.loads(found)))


def gains() -> list[tuple[str, str, str]]:
    """What worked, or failed otherwise than for want of rights, for all but the attacker."""
    return [
        (who, what, state)
        for who, what, state in LOOT
        if who != "suite_app" and what != "ran" and state != "42501"
    ]


def forget(suite: Suite) -> None:
    LOOT.clear()
    suite.run("delete from loot")


def ran_as(suite: Suite) -> set[str]:
    return {row[0] for row in (*suite.all("select who from loot"), *LOOT)} - {"suite_app"}


def state_of(suite: Suite) -> list[object]:
    """What must be as it was."""
    return [
        suite.all("select id, company, endpoint, state from cdc.webhook"),
        suite.all("select webhook_id, secret, expires_at from cdc.webhook_secret"),
        suite.all("select * from cdc.subscription order by 1, 2, 3"),
        suite.all(
            "select oid::regprocedure::text, proowner::regrole::text, prosecdef, proconfig::text,"
            " proacl::text, md5(prosrc) from pg_proc"
            " where pronamespace::regnamespace::text in ('cdc', 'cdc_capture') order by 1"
        ),
        suite.all("select nspname, nspacl::text from pg_namespace where nspname like 'cdc%%'"),
        suite.all("select * from cdc.installation"),
    ]


# Each is done by the owner of the tables, and springs when capture looks a candidate up.
VIEW = """
alter table candidate rename to real_candidate;
create view candidate as select id, steal() as project_id from real_candidate;
grant select on candidate to cdc_capture;
"""
POLICY = """
alter table candidate enable row level security;
create policy trap on candidate using (steal() is not null);
"""
INDEX = "create index trap on candidate (id) where steal_now() = 17"
EXPRESSION = "create index trap on candidate (id, (steal_now()))"
CAST = """
create type sly as (number bigint);
create function sly_text(sly) returns text language plpgsql immutable as
  'begin return public.steal()::text; end';
create cast (sly as text) with function sly_text(sly);
alter table rating drop constraint rating_candidate_id_fkey;
alter table candidate alter column project_id drop not null;
alter table candidate drop constraint if exists candidate_project_id_fkey;
alter table candidate alter column project_id type sly using row(project_id)::sly;
"""
OWN_CAST = """
create type sly as enum ('17');
create function sly_text(sly) returns text language plpgsql immutable as
  'begin return public.steal()::text; end';
create function sly_json(sly) returns json language plpgsql immutable as
  'begin return to_json(public.steal()); end';
create cast (sly as text) with function sly_text(sly);
create cast (sly as json) with function sly_json(sly);
alter table rating alter column candidate_id type sly using '17';
"""
CAST_ONLY = "alter table rating drop constraint rating_candidate_id_fkey;"
DOMAIN = """
alter table rating drop constraint rating_candidate_id_fkey;
create domain odd as bigint check (steal() is not null);
alter table rating alter column candidate_id type odd;
"""


@pytest.mark.parametrize(
    ("trap", "springs"),
    [
        pytest.param(VIEW, True, id="view"),
        pytest.param(POLICY, True, id="policy"),
        pytest.param(INDEX, True, id="predicate of an index"),
        pytest.param(EXPRESSION, True, id="expression of an index"),
        pytest.param(CAST, None, id="cast of a parent's column"),
        pytest.param(CAST_ONLY + OWN_CAST, True, id="cast of an own column"),
        pytest.param(DOMAIN, None, id="domain"),
    ],
)
def test_nothing_worth_having(
    owned: Suite, app: Connection, trap: str, springs: bool | None
) -> None:
    """springs: whether the code runs with capture's rights at all; None: that may depend."""
    app.execute(trap.encode())
    forget(owned)
    before = state_of(owned)
    app.execute("update rating set stars = 1 where id = 9")
    app.execute("insert into rating (id) select g from generate_series(100, 199) g")
    app.execute("update rating set stars = 2")
    # Later, from cdc.unresolved, as the daemon does it.
    owned.run("update cdc.unresolved set tries = 1")
    with logged_in(owned, "late_daemon") as daemon:
        daemon.execute("select cdc.resolve(array(select id from cdc.unresolved))")
    assert gains() == []
    assert ran_as(owned) <= {"cdc_capture"}
    if springs:
        assert ran_as(owned) == {"cdc_capture"}
    assert state_of(owned) == before


SHADOWS = """
create schema trap;
grant usage on schema trap to public;
create function trap.note() returns boolean language plpgsql as
  $$begin raise warning 'loot %', pg_catalog.json_build_array(current_user, 'shadow', 'done');
  return true; end$$;
create function trap.format(text, text) returns text language sql as
  $$select case when trap.note() then pg_catalog.format($1, $2) end$$;
create function trap.add(bigint, bigint) returns bigint language sql as
  $$select case when trap.note() then $1 operator(pg_catalog.+) $2 end$$;
create operator trap.+ (leftarg = bigint, rightarg = bigint, function = trap.add);
create function trap.to_regprocedure(text) returns regprocedure language sql as
  $$select case when trap.note() then pg_catalog.to_regprocedure($1) end$$;
create function trap.same(bigint, bigint) returns boolean language sql as
  $$select trap.note() and $1 operator(pg_catalog.=) $2$$;
create operator trap.= (leftarg = bigint, rightarg = bigint, function = trap.same);
"""
LEFT_BEHIND = """
create or replace function steal() returns bigint language plpgsql as $$
begin
  perform set_config('search_path', 'trap, pg_catalog', false);
  create domain pg_temp.text as pg_catalog.text check (trap.note());
  return 17;
exception when duplicate_object then
  return 17;
end $$
"""


def test_what_is_left_behind_in_the_session_does_not_run_as_the_owner(
    owned: Suite, app: Connection
) -> None:
    """A search_path that is set inside outlasts the options of all functions around."""
    app.execute(SHADOWS.encode())
    app.execute(LEFT_BEHIND.encode())
    app.execute("alter table rating drop constraint rating_candidate_id_fkey")
    for number in range(3):  # several resources, so that the loop of cdc.resolve goes on
        app.execute(f"insert into rating (id, candidate_id) values ({200 + number}, 999)".encode())
    owned.run("update cdc.unresolved set resource = 'answervideo' where key = '201'")
    owned.run("update cdc.unresolved set resource = 'note' where key = '202'")
    app.execute("insert into candidate (id, project_id) values (999, 17)")
    app.execute(VIEW.encode())
    forget(owned)
    with logged_in(owned, "late_daemon") as daemon:
        daemon.execute("select cdc.resolve(array(select id from cdc.unresolved))")
        # The trap was set, and stays: this is why the daemon ends its session here.
        assert daemon.execute("select pg_catalog.current_setting('search_path')").fetchall() == [
            ("trap, pg_catalog",)
        ]
    assert ran_as(owned) <= {"cdc_capture"}


def test_our_commands_do_not_read_what_others_own(owned: Suite, app: Connection) -> None:
    """`cdc webhook add` asks for the company, `cdc doctor` has queries planned: both may be run by
    an account that sees secrets."""
    app.execute("create index trap_too on company (id) where steal_now() = 17")
    app.execute(INDEX.encode())
    forget(owned)
    account = make_conninfo(owned.url, user="late_daemon", password="x")
    assert "cannot be checked" in company.doubts(account, owned.mapping, ["77"])[0]
    with logged_in(owned, "late_daemon") as doctor:
        settings = Settings(database_url=account)
        assert "by the catalogue only" in tables(Patient(doctor, settings, owned.mapping)).message
    assert ran_as(owned) == set()
    # An account that acts for the owner sees more, and the trap springs: it was one.
    owned.run("grant suite_app to late_daemon")
    assert len(company.doubts(account, owned.mapping, ["77"])) == 1
    assert "late_daemon" in ran_as(owned)
    owned.run("revoke suite_app from late_daemon")


def test_an_owner_can_break_capture_of_their_tables_and_it_is_seen(
    owned: Suite, app: Connection
) -> None:
    """All that is left to them is what owners can do anyway: not to be captured."""
    app.execute("alter table rating disable trigger cdc_capture_update")
    assert owned.states()["public.rating"] == "disabled"
