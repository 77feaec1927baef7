"""What a webhook gets that wants a part is exactly that part of what one gets that wants all."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.sandbox.embedded import EmbeddedPostgres
from tests.capture.kit import ROWS, Suite
from tests.capture.test_changed import Wish, candidates_alone, queued, register
from tests.support.examples import examples

COLUMNS = ("status", "other")
VALUES = st.sampled_from([None, "new", "done", ""])
KEYS = st.integers(1, 6)
Row = tuple[str | None, str | None]
Rows = dict[int, Row]
WISHES: list[Wish] = [
    (None, None, None),
    ("m", ["status"], None),
    (None, [], None),
    (None, ["status"], {"status": ["done"]}),
    ("m", None, {"status": ["new", ""]}),
    ("c", ["status"], None),
    (None, [], {"status": ["done", "new"]}),
]


class Change(NamedTuple):
    """A row after a statement: before is the row that had its key and was changed, too."""

    action: str
    key: int
    after: Row
    before: Row | None


def wanted(wish: Wish, change: Change) -> bool:
    actions, changed, values = wish
    status, other = change.after
    if actions and change.action not in actions:
        return False
    if values and status not in values["status"]:
        return False
    if changed is None or change.before is None:
        return True
    differs = [status != change.before[0]]
    return any(differs if changed else [*differs, other != change.before[1]])


def values(change: Change) -> dict[str, Any]:
    """What is included of it."""
    status = change.after[0]
    differs = change.before is None or status != change.before[0]
    return {"changed": ["status"] if differs else [], "fields": {"status": status}}


class Statement(NamedTuple):
    sql: str
    after: Rows
    changes: Sequence[Change]


@st.composite
def statements(draw: st.DrawFn, rows: Rows) -> Statement:
    """An insert, an update of some rows, one that moves keys, or a merge; and what it does."""
    kind = draw(st.sampled_from(["insert", "update", "move", "merge"]))
    given_ = draw(st.dictionaries(KEYS, st.tuples(VALUES, VALUES), min_size=1))
    after = dict(rows)
    changes = []
    if kind in ("insert", "merge"):
        if kind == "insert":
            given_ = {key: row for key, row in given_.items() if key not in rows}
        for key, (status, other) in given_.items():
            before = rows.get(key)
            after[key] = (status, before[1] if before else other)
            changes.append(Change("m" if before else "c", key, after[key], before))
        values = ", ".join(f"({key}, {sql(s)}, {sql(o)})" for key, (s, o) in given_.items())
        text = (
            f"merge into candidate c using (values {values}) v (id, status, other) on c.id = v.id"
            " when matched then update set status = v.status when not matched then"
            " insert (id, project_id, status, other) values (v.id, 17, v.status, v.other)"
        )
        return Statement(text if given_ else "select", after, changes)
    keys = [key for key in given_ if key in rows]
    if not keys:
        return Statement("select", after, [])
    if kind == "update":
        sets = draw(st.lists(st.sampled_from(COLUMNS), unique=True))
        for key in keys:
            row = [
                given_[key][n] if name in sets else rows[key][n] for n, name in enumerate(COLUMNS)
            ]
            after[key] = (row[0], row[1])
            changes.append(Change("m", key, after[key], rows[key]))
        set_ = [f"{name} = v.{name}" for name in sets] or ["project_id = 17"]
        assigned = ", ".join(set_)
    else:
        # Some to a key that is free, the others in a circle.
        free = draw(st.sampled_from([None, *sorted({*range(1, 7)} - set(rows))]))
        to = dict(zip(keys, [*keys[1:], *(keys[:1] if free is None else [free])], strict=True))
        for key in keys:
            del after[key]
        for key in keys:
            after[to[key]] = rows[key]
            before = rows[to[key]] if to[key] in keys else None
            changes.append(Change("m", to[key], rows[key], before))
        pairs = " ".join(f"when {key} then {to[key]}" for key in keys)
        assigned = f"id = case c.id {pairs} end"
    values = ", ".join(f"({key}, {sql(given_[key][0])}, {sql(given_[key][1])})" for key in keys)
    return Statement(
        f"update candidate c set {assigned} from (values {values}) v (id, status, other)"
        " where c.id = v.id",
        after,
        changes,
    )


def sql(value: str | None) -> str:
    return "null::text" if value is None else f"'{value}'"


@pytest.fixture(scope="module")
def suite(
    postgres: EmbeddedPostgres, admin: psycopg.Connection, template_db: str
) -> Iterator[Suite]:
    admin.execute(f"create database wanted template {template_db}".encode())
    made = Suite(postgres.url("wanted"))
    made.run(ROWS)
    made.run(
        "drop table note, rating, answervideo;"
        # No foreign key: it would wait for the locked parent.
        " alter table candidate drop constraint candidate_pkey,"
        " drop constraint candidate_project_id_fkey, add status text, add other text;"
        " create index on candidate (id); set statement_timeout = '20s'"
    )
    made.install(candidates_alone())
    register(made, *WISHES)
    made.run("update cdc.subscription set include = '{status}' where webhook_id % 2 = 1")
    yield made
    made.close()
    admin.execute(b"drop database wanted with (force)")


@examples(12)
@given(data=st.data())
def test_what_is_wanted_is_that_part_of_all(suite: Suite, data: st.DataObject) -> None:
    """Whatever a statement does to some rows, captured at once or late."""
    suite.run("set session_replication_role = replica; truncate candidate;"
              " reset session_replication_role")  # fmt: skip
    suite.clear()
    rows: Rows = {}
    hooks = [row[0] for row in suite.all("select id from cdc.webhook order by id")]
    for _ in range(data.draw(st.integers(1, 6), "statements")):
        one = data.draw(statements(rows), "statement")
        if data.draw(st.booleans(), "late"):
            with suite.command.transaction():
                suite.command.execute(b"lock table public.project in access exclusive mode")
                suite.run(one.sql)
            assert suite.resolve() == len(one.changes)
        else:
            suite.run(one.sql)
        rows = one.after
        assert dict(read(suite)) == rows, json.dumps(one.sql)
        for hook, wish in zip(hooks, WISHES, strict=True):
            of_all = [c for c in one.changes if wanted(wish, c)]
            expected = [(c.action, str(c.key)) for c in of_all]
            assert queued(suite, hook) == sorted(expected), (wish, one.sql)
            found = suite.all(
                "select refs[cardinality(refs)]::int, included from cdc.queue"
                " where webhook_id = %s", hook,
            )  # fmt: skip
            assert dict(found) == {c.key: values(c) if hook % 2 else None for c in of_all}, one.sql
        suite.clear()
    assert suite.unresolved() == []


def read(suite: Suite) -> Iterator[tuple[int, Row]]:
    for row in suite.all("select id, status, other from candidate"):
        key: Any = row[0]
        yield key, (row[1], row[2])
