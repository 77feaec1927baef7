"""The owner of a table may put code into it: it runs neither as who installs, nor beside writers
who do not know them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from psycopg.conninfo import make_conninfo

from cdc.capture import check
from cdc.diagnosis.doctor.capture import tables
from cdc.diagnosis.doctor.check import Patient, run
from cdc.errors import MappingError
from cdc.settings import Settings
from tests.capture.kit import Suite, connect
from tests.cli.command import Command

# Non-transactional, so that it is seen even if all is rolled back: the number goes on.
TRAP = """
create sequence public.sprung;
grant all on sequence public.sprung to public;
create function spring() returns bigint language plpgsql immutable as $$
begin
  perform setval('public.sprung', (select oid::bigint from pg_roles where rolname = current_user));
  return 17;
end $$;
create index trap on candidate (id) where spring() = 17;
"""
WHO = "select coalesce(max(rolname), '') from pg_roles, sprung where oid = last_value and is_called"


@pytest.fixture
def suite(own_suite: Suite) -> Iterator[Suite]:
    own_suite.run(
        "create role thief login password 'x'; create role app;"
        "grant usage, create on schema public to thief"
    )
    yield own_suite
    own_suite.run("drop owned by thief, app cascade; drop role thief, app")


def own(suite: Suite, role: str, *names: str) -> None:
    everything = suite.all(
        "select relname from pg_class where relnamespace = 'public'::regnamespace"
        " and relkind in ('r', 'p')"
    )
    for name in names or [row[0] for row in everything]:
        suite.run(f"alter table public.{name} owner to {role}")


def set_trap(suite: Suite) -> None:
    with connect(make_conninfo(suite.url, user="thief", password="x")) as thief:
        thief.execute(TRAP.encode())
    suite.run("alter sequence sprung restart")


def test_nothing_of_theirs_runs_as_who_installs(suite: Suite) -> None:
    own(suite, "thief")
    set_trap(suite)
    command = Command({"CDC_DATABASE_URL": suite.url})
    for words in (
        ["triggers", "plan"], ["triggers", "install"], ["triggers", "sql", "--database"],
        ["triggers", "status"], ["doctor"], ["explain", "rating", "9"],
    ):  # fmt: skip
        command(*words)
        assert suite.one(WHO) in ("", "cdc_capture"), words
    # It is sprung by planning, and the installation still finds what cannot be read by index.
    suite.run("select check_me.* from candidate check_me where id = 1 and spring() = 17")
    assert suite.one(WHO) == "postgres"
    suite.run("alter table candidate drop constraint candidate_pkey cascade")
    with pytest.raises(MappingError, match="no index"):
        check.check(suite.conn, suite.mapping)


def test_a_strangers_table_is_not_read_for_a_writer(suite: Suite) -> None:
    own(suite, "app")
    check.check(suite.conn, suite.mapping)
    own(suite, "thief", "question")
    with pytest.raises(MappingError) as refused:
        check.check(suite.conn, suite.mapping)
    assert refused.value.message == (
        "resources.answervideo.parents: public.question belongs to thief, public.answervideo to "
        "app: code that thief puts into it (a policy, an index's function) would run in sessions "
        "that write public.answervideo"
    )
    # Where it was changed later on.
    patient = Patient(suite.conn, Settings(database_url=suite.url), suite.mapping)
    finding = run("tables", tables, patient)
    assert (finding.verdict, "belongs to thief" in finding.message) == ("fail", True)
    assert "grant app to thief" in refused.value.hint
    # It may do all that the other may.
    suite.run("grant app to thief")
    check.check(suite.conn, suite.mapping)


def test_a_strangers_partition_neither(suite: Suite) -> None:
    own(suite, "app")
    suite.run("create table public.theirs () inherits (public.project)")
    own(suite, "thief", "theirs")
    with pytest.raises(MappingError, match=r"public\.theirs belongs to thief"):
        check.check(suite.conn, suite.mapping)


TEMPORARY = """
create function take() returns trigger language plpgsql as
  $$begin create table public.loot as select current_user::text as who; return null; end$$;
create function leave() returns bigint language plpgsql as $$
begin
  create temporary table rating (id bigint, stars int);
  grant all on pg_temp.rating to public;
  create trigger take after update on pg_temp.rating for each statement
    execute function public.take();
  return 17;
end $$;
alter table candidate rename to real_candidate;
create view candidate as select id, leave() as project_id from real_candidate;
grant select on candidate to cdc_capture;
"""


def test_what_their_code_leaves_in_a_writers_session_is_undone(suite: Suite) -> None:
    """What is refused above, once it is there all the same: capture rolls back whatever its reads
    do, so the writer's next statement does not run their code."""
    suite.run("alter table rating drop constraint rating_candidate_id_fkey")
    own(suite, "thief", "candidate")
    with connect(make_conninfo(suite.url, user="thief", password="x")) as thief:
        thief.execute(TEMPORARY.encode())
    with connect(suite.url) as writer:
        writer.execute("update rating set stars = 1 where id = 9")
        writer.execute("update rating set stars = 2 where id = 9")
    assert suite.one("select to_regclass('public.loot')") is None
    assert suite.one("select stars from rating where id = 9") == 2
