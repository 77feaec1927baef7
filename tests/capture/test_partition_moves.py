"""Rows that move to another partition: a matrix of statements, tables they name, and moves.

What PostgreSQL does not show to a statement's triggers is listed here by name (``UNSEEN``), and in
docs/capture.md, "What cannot be captured". If a release shows it, the test of that release fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import psycopg
import pytest

from cdc.capture import check
from cdc.capture.plan import unseen
from tests.capture.kit import Suite
from tests.cli.command import Command
from tests.docs.pages import page, table

# Three levels: a leaf of the root, and a branch with two leaves.
PARTITIONED = """
drop table note, rating, answervideo, candidate cascade;
insert into project values (16, 1);
create table candidate (
  id bigint not null, project_id bigint references project on update cascade, stars int,
  primary key (id, project_id)
) partition by list (project_id);
create table candidate_17 partition of candidate for values in (17, 18);
create table candidate_few partition of candidate for values in (15, 16, 20)
  partition by list (project_id);
create table candidate_15 partition of candidate_few for values in (15);
create table candidate_16 partition of candidate_few for values in (16, 20);
create view everybody as select * from candidate;
create view few as select * from candidate_few;
create view leaf as select * from candidate_15;
create table answervideo (
  id bigint primary key, candidate_id bigint, question_id bigint references question);
create table rating (
  id bigint primary key, candidate_id bigint, customer_id bigint references customer);
create table note (
  id bigint primary key, answervideo_id bigint references answervideo,
  customer_id bigint references customer, candidate_id bigint);
"""


class Target(NamedTuple):
    """A table that a statement names, a view on it, a row of it and where that may move."""

    table: str
    view: str
    id: int
    stays: int
    moves: int


TARGETS = {
    "root": Target("candidate", "everybody", 19, 17, 15),
    "branch": Target("candidate_few", "few", 20, 15, 16),
    "leaf": Target("candidate_15", "leaf", 20, 15, 16),
}

MERGE = "merge into {table} t using (values ({id})) s (id) on t.id = s.id when matched"
STATEMENTS = {
    "update": "update {table} set project_id = {to} where id = {id}",
    "update returning": "update {table} set project_id = {to} where id = {id} returning *",
    "update from": "update {table} t set project_id = {to} from project p"
    " where p.id = t.project_id and t.id = {id}",
    "update in a CTE": "with u as (update {table} set project_id = {to} where id = {id}"
    " returning *) select count(*) from u",
    "update of what a cursor shows": "begin; declare c cursor for select * from {table}"
    " where id = {id} for update; fetch c;"
    " update {table} set project_id = {to} where current of c; commit",
    "prepared update": "prepare u (bigint) as update {table} set project_id = $1 where id = {id};"
    " execute u ({to}); deallocate u",
    "update by a view": "update {view} set project_id = {to} where id = {id}",
    "insert on conflict do update": "insert into {table} values ({id}, {from_}, 1)"
    " on conflict (id, project_id) do update set project_id = {to}",
    "merge with update": MERGE + " then update set project_id = {to}",
    "merge with update and delete": MERGE + " and stars = 1 then delete"
    " when matched then update set project_id = {to}",
    "merge with update and insert": MERGE + " then update set project_id = {to}"
    " when not matched then insert values (s.id, {to})",
    "merge by a view": "merge into {view} t using (values ({id})) s (id) on t.id = s.id"
    " when matched then update set project_id = {to}",
    "merge of what has no source": "merge into {table} t using (values (0)) s (id) on t.id = s.id"
    " when not matched by source and id = {id} then update set project_id = {to}",
}
SINCE_17 = {"merge by a view", "merge of what has no source"}

# What is captured of a move, where that is not "modified": nothing, or as if the row were new.
UNSEEN: dict[str, Literal["", "c"]] = {
    "merge with update": "",
    "merge with update and delete": "",
    "merge with update and insert": "c",
    "merge by a view": "",
    "merge of what has no source": "",
}
# PostgreSQL refuses these moves, whether there is capture or not.
REFUSED = {"insert on conflict do update": "invalid ON UPDATE specification"}


@pytest.fixture(scope="module")
def shared_parts(shared_database: str) -> Iterator[Suite]:
    made = Suite(shared_database)
    made.run("insert into company values (1); insert into project values (17, 1), (15, 1)")
    made.run(PARTITIONED)
    made.install()
    made.register("1")
    yield made
    made.close()


@pytest.fixture
def parts(shared_parts: Suite) -> Suite:
    shared_parts.run("truncate candidate; insert into candidate values (19, 17), (20, 15)")
    shared_parts.clear()
    return shared_parts


@pytest.mark.parametrize("move", [False, True], ids=["stays", "moves"])
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("statement", STATEMENTS)
def test_an_update_is_captured_once(parts: Suite, statement: str, target: str, move: bool) -> None:
    if statement in SINCE_17 and parts.conn.info.server_version < 170000:
        pytest.skip("PostgreSQL has this since 17")
    at = TARGETS[target]
    to = at.moves if move else at.stays
    sql = STATEMENTS[statement].format(**at._asdict(), to=to, from_=at.stays)
    refused = (
        REFUSED.get(statement, "violates partition constraint" if target == "leaf" else "")
        if move
        else ""
    )
    if refused:
        with pytest.raises(psycopg.Error, match=refused):
            parts.run(sql)
        parts.run("rollback")
        assert parts.queued() == []
        return
    parts.run(sql)
    action = UNSEEN.get(statement, "m") if move else "m"
    assert parts.changes() == ([(action, str(at.id))] if action else [])
    assert parts.unresolved() == []
    assert parts.one(f"select project_id from candidate where id = {at.id}") == to


@pytest.mark.parametrize("target", ["root", "branch"])
def test_a_merge_captures_what_does_not_move(parts: Suite, target: str) -> None:
    """Of one statement that moves one row, changes another and inserts a third."""
    at = TARGETS[target]
    parts.run(f"insert into candidate values (30, {at.stays})")
    parts.clear()
    parts.run(
        f"merge into {at.table} t using (values ({at.id}), (30), (40)) s (id) on t.id = s.id"
        f" when matched and s.id = 30 then update set stars = 1"
        f" when matched then update set project_id = {at.moves}"
        f" when not matched then insert values (s.id, {at.moves})"
    )
    # The one that moved looks like the one that is new.
    assert sorted(parts.changes()) == [("c", str(at.id)), ("c", "40"), ("m", "30")]


@pytest.mark.parametrize("rows", [64, 65])
def test_many_rows_that_move_in_one_update(parts: Suite, rows: int) -> None:
    parts.run(f"insert into candidate select g, 17 from generate_series(1001, {1000 + rows}) g")
    parts.clear()
    parts.run("update candidate set project_id = 15 where id > 1000")
    changes = sorted(parts.changes())
    assert changes == [("m", str(1000 + number)) for number in range(1, rows + 1)]


def test_a_cascade_that_moves_rows(parts: Suite) -> None:
    """The project's key is the partition key; a foreign key updates it."""
    parts.run("update project set id = 20 where id = 15")
    assert ("m", "20") in parts.changes()
    assert parts.one("select tableoid::regclass::text from candidate where id = 20") == (
        "candidate_16"
    )
    parts.run("update project set id = 15 where id = 20")


def test_a_suites_own_trigger_that_moves_a_row(parts: Suite) -> None:
    parts.run(
        "create function elsewhere() returns trigger language plpgsql as"
        " $$begin new.project_id := 16; return new; end$$;"
        "create trigger elsewhere before update on candidate for each row"
        " execute function elsewhere()"
    )
    parts.run("update candidate set stars = 1 where id = 20")
    parts.run("drop trigger elsewhere on candidate")
    assert parts.changes() == [("m", "20")]
    assert parts.one("select project_id from candidate where id = 20") == 16


@pytest.mark.parametrize("name", ["candidate", "candidate_few", "candidate_15"])
def test_copy(parts: Suite, name: str) -> None:
    with parts.conn.cursor() as cursor, cursor.copy(f"copy {name} from stdin".encode()) as copy:
        copy.write_row((50, 15, None))
    assert parts.changes() == [("c", "50")]


def test_to_delete_and_insert_is_to_create(parts: Suite) -> None:
    """In one statement, too: the row that comes is another."""
    parts.run(
        "with gone as (delete from candidate where id = 19 returning *)"
        " insert into candidate select id, 15 from gone"
    )
    assert parts.changes() == [("c", "19")]


def test_attach_and_detach_fire_nothing(parts: Suite) -> None:
    parts.run(
        "alter table candidate_few detach partition candidate_15;"
        "alter table candidate_few attach partition candidate_15 for values in (15)"
    )
    assert parts.queued() == []
    parts.run("update candidate set project_id = 16 where id = 20")
    assert parts.changes() == [("m", "20")]


def test_what_is_not_seen_is_said(parts: Suite) -> None:
    (said,) = unseen(parts.mapping, check.check(parts.conn, parts.mapping))
    assert said == (
        "public.candidate is partitioned: a MERGE that moves a row to another partition is not"
        " captured, or, if it has an INSERT action, sent as created. UPDATE is captured."
    )
    limits = {row["what"]: row["what happens"] for row in table(page("docs/capture.md"), "what")}
    assert (
        "without an INSERT action: not seen; with one: sent as `created`"
        in limits["MERGE that moves a row to another partition"]
    )


def test_the_plan_says_it(parts: Suite) -> None:
    cdc = Command({"CDC_DATABASE_URL": parts.url})
    (said,) = unseen(parts.mapping, check.check(parts.conn, parts.mapping))
    assert cdc.json("triggers", "plan")["not_captured"] == [said]
    assert said in cdc.good("triggers", "plan").err
