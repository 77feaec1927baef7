"""Partitioned tables: a statement fires the triggers of the table it names, and of no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdc.sandbox.embedded import EmbeddedPostgres
from tests.capture.kit import Suite, psql, rows
from tests.cli.command import Command

PARTITIONED = """
drop table note, rating, answervideo, candidate cascade;
create table candidate (
  id bigint not null, project_id bigint references project, primary key (id, project_id)
) partition by range (id);
create table candidate_small partition of candidate for values from (0) to (1000);
create table candidate_large partition of candidate for values from (1000) to (1000000)
  partition by list (project_id);
-- Other columns, in another order, and one dropped: as partitions attached later have them.
create table candidate_large_17 (gone int, project_id bigint not null, id bigint not null);
alter table candidate_large_17 drop column gone;
alter table candidate_large attach partition candidate_large_17 for values in (17);
create table candidate_large_15 partition of candidate_large for values in (15);
create table answervideo (
  id bigint primary key, candidate_id bigint, question_id bigint references question);
create table rating (
  id bigint primary key, candidate_id bigint, customer_id bigint references customer);
create table note (
  id bigint primary key, answervideo_id bigint references answervideo,
  customer_id bigint references customer, candidate_id bigint);
"""


@pytest.fixture
def parts(own_suite: Suite) -> Suite:
    own_suite.run(PARTITIONED)
    own_suite.install()
    own_suite.register("1")
    return own_suite


TREE = (
    "candidate", "candidate_small", "candidate_large", "candidate_large_17", "candidate_large_15"
)  # fmt: skip


def test_each_part_of_the_tree_has_its_triggers(parts: Suite) -> None:
    states = parts.states()
    assert {states[f"public.{name}"] for name in TREE} == {"installed"}
    assert parts.install() == []


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ("candidate", 20),
        ("candidate", 2000),
        ("candidate_small", 20),
        ("candidate_large", 2000),
        ("candidate_large_17", 2000),
    ],
)
def test_writes_by_root_branch_and_leaf_are_captured_once(
    parts: Suite, table: str, key: int
) -> None:
    parts.run(f"insert into {table} (id, project_id) values ({key}, 17)")
    parts.run(f"update {table} set project_id = 17 where id = {key}")
    assert parts.changes() == [("c", str(key)), ("m", str(key))]
    assert all(f"/projects/17/candidates/{key}/" in post for post in parts.posts())


@pytest.mark.parametrize("count", [10, 200])
def test_copy_into_a_leaf_with_other_columns(parts: Suite, count: int) -> None:
    with parts.conn.cursor() as cursor, cursor.copy("copy candidate_large_17 from stdin") as copy:
        for number in range(2000, 2000 + count):
            copy.write_row((17, number))
    assert sorted(parts.changes()) == rows(range(2000, 2000 + count))
    assert parts.unresolved() == []


@pytest.mark.parametrize("table", ["candidate", "candidate_large"])
def test_a_row_that_moves_between_partitions_is_modified(parts: Suite, table: str) -> None:
    parts.run("insert into candidate values (2000, 17)")
    parts.clear()
    parts.run(f"update {table} set project_id = 15 where id = 2000")
    assert parts.changes() == [("m", "2000")]
    assert parts.one("select tableoid::regclass::text from candidate") == "candidate_large_15"


def test_a_partitioned_parent_is_read(parts: Suite) -> None:
    parts.run("insert into candidate values (20, 17), (2000, 15)")
    parts.clear()
    parts.run("insert into rating values (1, 20, null), (2, 2000, null)")
    small, large = parts.posts()
    assert "/projects/17/candidates/20/ratings/1/" in small
    assert "/projects/15/candidates/2000/ratings/2/" in large


def test_a_new_leaf_is_found(parts: Suite) -> None:
    parts.run("create table candidate_large_50 partition of candidate_large for values in (50)")
    assert parts.states()["public.candidate_large_50"] == "missing"
    # By the root it is captured all the same; by its own name it is not, which is why it is shown.
    parts.register("2")
    parts.run("insert into candidate values (3000, 50)")
    parts.run("insert into candidate_large_50 values (3001, 50)")
    assert parts.changes() == [("c", "3000")]
    steps = parts.install()
    assert {str(step.table) for step in steps} == {"public.candidate_large_50"}
    parts.run("insert into candidate_large_50 values (3002, 50)")
    assert parts.changes() == [("c", "3000"), ("c", "3002")]


def test_a_detached_leaf_loses_its_triggers(parts: Suite) -> None:
    parts.run("alter table candidate detach partition candidate_small")
    steps = parts.install()
    assert [(str(s.table), s.sql.split()[0]) for s in steps] == [
        ("public.candidate_small", "drop"),
        ("public.candidate_small", "drop"),
    ]
    parts.run("insert into candidate_small values (20, 17)")
    assert parts.queued() == []


def test_tables_that_inherit_are_captured_too(own_suite: Suite) -> None:
    """The old way of partitioning: a child is written by its own name."""
    own_suite.run("create table candidate_2020 (primary key (id)) inherits (candidate)")
    own_suite.install()
    own_suite.register("1")
    own_suite.run("insert into candidate_2020 values (20, 17)")
    own_suite.run("update candidate set project_id = 15 where id = 20")
    own_suite.run("update candidate_2020 set project_id = 15")
    assert own_suite.changes() == [("c", "20"), ("m", "20"), ("m", "20")]


def test_a_name_does_not_break_out_of_the_script_for_a_dba(
    own_suite: Suite, postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    """Who owns a table names its partitions, and the script is run by who may do more."""
    own_suite.run(PARTITIONED)
    own_suite.run(
        'create table "p\n;create table public.loot();--\x07" partition of candidate'
        " for values from (1000000) to (2000000)"
    )
    cdc = Command({"CDC_DATABASE_URL": own_suite.url})
    script = tmp_path / "triggers.sql"
    script.write_text(cdc.good("triggers", "sql", "--database").out)
    shown = cdc.good("triggers", "plan", "--sql").out
    assert ";create table public.loot();--" in shown
    assert not any(line.startswith(";") and '"' not in line for line in shown.splitlines())
    assert "\x07" not in shown
    psql(postgres.bin_dir, own_suite.url, "-f", script)
    assert own_suite.all("select to_regclass('public.loot') is null") == [(True,)]
    assert own_suite.install() == []
