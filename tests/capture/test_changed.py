"""A webhook that asks for changed fields gets updates that have changed one, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product

import pytest

from cdc.capture import changed_mask
from cdc.mapping import Mapping, parse_mapping
from cdc.sandbox.suite import declaring
from tests.capture.kit import RESET, Suite

FIELDS = ("status", "score", "note", "twice")
COLUMNS = """
alter table candidate add status text, add score numeric, add note json,
  add twice numeric generated always as (score * 2) stored, add other text;
"""
# What a webhook asks: actions, changed fields, filter.
Wish = tuple[str | None, list[str] | None, dict[str, list[str]] | None]
WISHES: list[Wish] = list(
    product(
        [None, "c", "m"],
        [None, [], ["status"], ["status", "score"], ["note", "twice"]],
        [None, {"status": ["new", "done"]}],
    )
)


def declared(fields: tuple[str, ...] = FIELDS) -> Mapping:
    return declaring("candidate_changed", f"fields = {json.dumps(fields)}")


def register(suite: Suite, *wishes: Wish) -> dict[int, Wish]:
    """A webhook for each, on the same company."""
    made = {}
    for wish in wishes:
        made[suite.register("1", "candidate_changed")] = wish
    for webhook, (actions, changed, wanted) in made.items():
        suite.conn.execute(
            "update cdc.subscription set actions = %s, changed = %s, filter = %s"
            " where webhook_id = %s",
            (actions, changed, json.dumps(wanted) if wanted else None, webhook),
        )
    return made


@pytest.fixture(scope="module")
def asked(shared_database: str) -> Iterator[Suite]:
    made = Suite(shared_database)
    made.run(RESET)
    made.run(COLUMNS)
    made.install(declared())
    yield made
    made.close()


@pytest.fixture
def suite(asked: Suite) -> Iterator[Suite]:
    """One company, and candidates 1 and 2 of it; webhooks are the test's."""
    asked.run(
        "delete from cdc.webhook; set session_replication_role = replica;"
        " delete from candidate where id <> 19; reset session_replication_role;"
        " insert into candidate (id, project_id, status, score) values"
        " (1, 17, 'new', 1.0), (2, 17, null, null); delete from cdc.queue;"
        " delete from cdc.unresolved"
    )
    yield asked
    asked.run("reset all")


def queued(suite: Suite, webhook: int) -> list[tuple[str, str]]:
    return sorted((row.action, row.key) for row in suite.queued() if row.webhook == webhook)


# Each with what it does: action, key, status afterwards, and the columns that it changes.
CHANGES: dict[str, list[tuple[str, str, str | None, str]]] = {
    "update candidate set id = id": [
        ("m", "1", "new", ""),
        ("m", "2", None, ""),
        ("m", "19", None, ""),
    ],
    "update candidate set status = 'done' where id = 1": [("m", "1", "done", "status")],
    "update candidate set status = 'new', other = 'x' where id = 1": [("m", "1", "new", "other")],
    "update candidate set status = null, score = null, note = null, other = null where id = 2": [
        ("m", "2", None, "")
    ],
    "update candidate set status = 'new' where id = 2": [("m", "2", "new", "status")],
    "update candidate set status = null where id = 1": [("m", "1", None, "status")],
    # Compared as stored: 1.0 and 1.00 are equal, and differ. So does what is generated of them.
    "update candidate set score = 1.00 where id = 1": [("m", "1", "new", "score twice")],
    "update candidate set score = 1.0 where id = 1": [("m", "1", "new", "")],
    "update candidate set note = '{\"a\": 1}' where id = 1": [("m", "1", "new", "note")],
    "update candidate set status = 'done', score = 7 where id < 3": [
        ("m", "1", "done", "status score twice"),
        ("m", "2", "done", "status score twice"),
    ],
    "insert into candidate (id, project_id, status) values (3, 17, 'new'), (4, 17, 'x')": [
        ("c", "3", "new", "*"),
        ("c", "4", "x", "*"),
    ],
    """insert into candidate (id, project_id, status) values (1, 17, 'done'), (2, 17, null),
         (3, 17, 'new')
       on conflict (id) do update set status = excluded.status""": [
        ("m", "1", "done", "status"),
        ("m", "2", None, ""),
        ("c", "3", "new", "*"),
    ],
    """merge into candidate c using (values (1, 'new'), (2, 'done'), (3, 'new')) v (id, status)
         on c.id = v.id
       when matched then update set status = v.status
       when not matched then insert (id, project_id, status) values (v.id, 17, v.status)""": [
        ("m", "1", "new", ""),
        ("m", "2", "done", "status"),
        ("c", "3", "new", "*"),
    ],
    # A key that is new: all counts as changed.
    "update candidate set id = 5 where id = 1": [("m", "5", "new", "*")],
    "with one as (delete from candidate where id = 1) update candidate set status = 'done'"
    " where id = 2": [("m", "2", "done", "status")],
}


def wants(wish: Wish, action: str, status: str | None, columns: str) -> bool:
    """What the guide says."""
    actions, changed, wanted = wish
    if actions is not None and action not in actions:
        return False
    if wanted is not None and status not in wanted["status"]:
        return False
    if changed is None or columns == "*":
        return True
    return bool(columns) if not changed else bool(set(changed) & set(columns.split()))


@pytest.mark.parametrize("sql", CHANGES)
def test_what_is_queued(suite: Suite, sql: str) -> None:
    """Each change x action x changed fields x filter."""
    made = register(suite, *WISHES)
    suite.run(sql)
    for webhook, wish in made.items():
        expected = [
            (a, key) for a, key, status, columns in CHANGES[sql] if wants(wish, a, status, columns)
        ]
        assert queued(suite, webhook) == sorted(expected), wish
    assert suite.unresolved() == []


@pytest.mark.parametrize(("rows", "at_once"), [(1, 0), (64, 0), (65, 0), (6000, 0), (6000, 700)])
def test_small_and_large_statements(
    suite: Suite, rows: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each third row is changed. The plan made for one row is used for many, and the reverse; so
    many rows that they are compared in several parts."""
    if at_once:
        monkeypatch.setattr(changed_mask, "COMPARED", at_once)
        suite.install()
    any_, differs, status = register(
        suite, (None, None, None), (None, [], None), (None, ["status"], None)
    )
    suite.run(
        "insert into candidate (id, project_id, status)"
        f" select 1000 + g, 17, 'new' from generate_series(0, {rows - 1}) g"
    )
    for n, wanted in enumerate(("'done'", "'new'")):
        suite.clear_queue()
        suite.run(
            f"update candidate set status = case id % 3 when 0 then {wanted} else status end,"
            f" other = case id % 3 when 1 then '{n}' else other end where id >= 1000"
        )
        every = range(1000, 1000 + rows)
        assert {row for _, row in queued(suite, any_)} == {str(g) for g in every}
        assert {row for _, row in queued(suite, differs)} == {str(g) for g in every if g % 3 != 2}
        assert {row for _, row in queued(suite, status)} == {str(g) for g in every if g % 3 == 0}
        assert len(suite.queued()) == sum(
            (len(every), *(sum(g % 3 in of for g in every) for of in ((0, 1), (0,))))
        )
    if at_once:
        monkeypatch.undo()
        suite.install()


def test_200_000_rows_are_joined_and_compared_in_batches(suite: Suite) -> None:
    """Even by the plan that a single row made: with a nested loop it would take hours."""
    register(suite, (None, ["status"], None))
    suite.run("update candidate set status = 'x' where id = 1")
    suite.run(
        "set session_replication_role = replica; insert into candidate (id, project_id, status)"
        " select 1000 + g, 17, 'new' from generate_series(1, 200000) g;"
        " reset session_replication_role; delete from cdc.queue"
    )
    suite.run("set statement_timeout = '60s'")
    suite.run(
        "update candidate set status = case when id % 1000 = 0 then 'done' else status end"
        " where id > 1000"
    )
    assert {row.key for row in suite.queued()} == {str(1000 * g) for g in range(2, 202)}
    assert len(suite.queued()) == 200


def test_a_key_that_occurs_twice_counts_as_changed(own_suite: Suite) -> None:
    """Before the statement, or after it; and one row is queued for each."""
    own_suite.run(COLUMNS)
    own_suite.run(
        "alter table candidate drop constraint candidate_pkey cascade;"
        " create index on candidate (id)"
    )
    own_suite.install(candidates_alone())
    (webhook,) = register(own_suite, (None, ["status"], None))
    own_suite.run(
        "delete from candidate;"
        " insert into candidate (id, project_id) values (1, 17), (1, 17), (2, 17), (3, 17)"
    )
    own_suite.clear_queue()
    own_suite.run("update candidate set other = 'x'")
    assert queued(own_suite, webhook) == [("m", "1"), ("m", "1")]
    own_suite.clear_queue()
    own_suite.run("update candidate set id = 3 where id > 1")
    assert queued(own_suite, webhook) == [("m", "3"), ("m", "3")]
    # Two rows swap their keys: each is held against the row that had its key before.
    own_suite.run(
        "delete from candidate; insert into candidate (id, project_id, status, other)"
        " values (1, 17, 'new', 'a'), (2, 17, 'new', 'b'), (3, 17, 'x', 'c'), (4, 17, 'y', 'd')"
    )
    own_suite.clear_queue()
    own_suite.run("update candidate set id = case when id < 3 then 3 - id else 7 - id end")
    assert queued(own_suite, webhook) == [("m", "3"), ("m", "4")]
    own_suite.clear_queue()
    own_suite.run("update cdc.subscription set changed = '{}'")
    own_suite.run("update candidate set id = 3 - id where id < 3")
    assert queued(own_suite, webhook) == [("m", "1"), ("m", "2")]


def candidates_alone() -> Mapping:
    """Nothing is below them, so their key need not be unique."""
    text = declared(("status",)).source
    return parse_mapping(text[: text.index("[resources.answervideo]")], "x.toml")


def test_late_capture_keeps_what_was_changed(suite: Suite) -> None:
    """Of a row whose parent came later, and of one whose parent was locked."""
    any_, differs, status = register(
        suite, (None, None, None), (None, [], None), (None, ["status"], None)
    )
    suite.run(
        "begin; set constraints all deferred; update candidate set project_id = 99 where id = 1;"
        " update candidate set status = 'x' where id = 1;"
        " update candidate set id = id where id = 1;"
        " insert into project values (99, 1); commit"
    )
    assert suite.resolve() == 3
    assert [len(queued(suite, one)) for one in (any_, differs, status)] == [3, 2, 1]
    suite.clear()
    with suite.command.transaction():
        suite.command.execute(b"lock table public.project in access exclusive mode")
        suite.run("update candidate set other = 'z' where id in (1, 2)")
        suite.run("update candidate set status = 'z' where id = 2")
        assert len(suite.unresolved()) == 3
    assert suite.resolve() == 3
    assert [len(queued(suite, one)) for one in (any_, differs, status)] == [3, 3, 1]
    # Under another declaration of fields the bits that were kept mean nothing: all counts.
    suite.clear()
    with suite.command.transaction():
        suite.command.execute(b"lock table public.project in access exclusive mode")
        suite.run("update candidate set id = id where id = 1")
    suite.install(declared(("score", "status")))
    assert suite.resolve() == 1
    assert [len(queued(suite, one)) for one in (any_, differs, status)] == [1, 1, 1]
    suite.install(declared())


def test_partitions(own_suite: Suite) -> None:
    """A statement on the root, on a partition, and one that moves rows between two."""
    own_suite.run(
        COLUMNS
        + """
        drop table note, rating, answervideo;
        alter table candidate rename to former; alter table former rename constraint
          candidate_pkey to former_pkey;
        create table candidate (other text, status text, id int not null, project_id int)
          partition by list (status);
        create table candidate_new (id int not null, status text, project_id int, other text);
        alter table candidate attach partition candidate_new for values in ('new');
        create table candidate_rest partition of candidate default;
        create index on candidate (id);
        """
    )
    own_suite.install(candidates_alone())
    differs, status = register(own_suite, (None, [], None), (None, ["status"], None))
    own_suite.run(
        "insert into candidate (id, project_id, status) values (1, 17, 'new'), (2, 17, 'x')"
    )
    expected = {
        "update candidate set id = id": ([], []),
        "update candidate_new set other = 'x'": (["1"], []),
        "update candidate set status = 'y', other = 'z' where id = 2": (["2"], ["2"]),
        "update candidate set status = 'y' where id = 1": (["1"], ["1"]),
        "update candidate set status = case id when 2 then 'new' else status end": (["2"], ["2"]),
    }
    for sql, (all_, named) in expected.items():
        own_suite.clear_queue()
        own_suite.run(sql)
        assert [key for _, key in queued(own_suite, differs)] == all_, sql
        assert [key for _, key in queued(own_suite, status)] == named, sql


def test_a_column_added_with_a_default_has_not_changed(own_suite: Suite) -> None:
    """What is not stored in an old row is compared as what it reads."""
    own_suite.run(COLUMNS)
    own_suite.run("alter table candidate add late text default 'a'")
    own_suite.install(declared(("late",)))
    late, differs = register(own_suite, (None, ["late"], None), (None, [], None))
    own_suite.run("update candidate set other = 'x'")
    assert (queued(own_suite, late), queued(own_suite, differs)) == ([], [("m", "19")])
    own_suite.run("update candidate set late = repeat('a', 100000)")
    own_suite.run("delete from cdc.queue; update candidate set other = 'y'")
    assert queued(own_suite, late) == []
