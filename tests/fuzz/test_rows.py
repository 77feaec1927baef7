"""Whatever a row can hold: its writer does not fail, and what is queued becomes a right payload."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, cast
from urllib.parse import unquote
from uuid import UUID

import psycopg
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from psycopg import sql

from cdc.mapping import default_mapping
from cdc.message.payload import Translator
from cdc.sandbox.embedded import EmbeddedPostgres
from cdc.sandbox.suite import KeyType
from tests.capture.kit import Suite, connect
from tests.support.examples import examples
from tests.support.installation import prepare

FUZZ = examples(8)
LONGEST = 2000  # of a key: PostgreSQL's index takes 2704 bytes

# Without NUL and lone surrogates: no text of PostgreSQL can hold them.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=400)
KEYS: dict[str, st.SearchStrategy[Any]] = {
    "bigint": st.integers(-(2**63), 2**63 - 1),
    "uuid": st.uuids(),
    # One or two dots cannot stand in an address (tests/message/test_payload.py).
    "text": TEXT.filter(lambda text: len(text.encode()) <= LONGEST and text not in (".", "..")),
}
# Beside the key, columns that are none of our business, with the worst their types can hold.
EXTREMES = {
    "moment": st.sampled_from(
        ["infinity", "-infinity", "4713-01-01 BC", "294276-12-31", "2024-02-29 23:59:60+15:59"]
    ),
    "amount": st.sampled_from(["NaN", "Infinity", "-Infinity", "1e1000", "-0", "1e-1000"]),
    "share": st.sampled_from(["NaN", "Infinity", "-Infinity", "1e308", "5e-324", "-0"]),
    "span": st.sampled_from(["178000000 years", "-178000000 years", "00:00:00.000001"]),
    "blob": st.sampled_from(["", "\\x00ff00", "\\x" + "00" * 3000]),
    "doc": st.sampled_from(["null", "{}", '{"": [1e999999]}', '"\\u0000"', "[" * 500 + "]" * 500]),
    "name": TEXT,
}
COLUMNS = """
alter table project add column moment timestamptz, add column amount numeric,
  add column share float8, add column span interval, add column blob bytea, add column doc json;
"""


@pytest.fixture(scope="module", params=["bigint", "uuid", "text"])
def kind(request: pytest.FixtureRequest) -> KeyType:
    return cast(KeyType, request.param)


@pytest.fixture(scope="module")
def suite(postgres: EmbeddedPostgres, admin: psycopg.Connection, kind: KeyType) -> Iterator[Suite]:
    name = f"fuzz_{kind}"
    admin.execute(f"create database {name} template template0 encoding 'utf8'".encode())
    prepare(postgres.url(name), default_mapping(), kind)
    made = Suite(postgres.url(name))
    made.run(COLUMNS)
    yield made
    made.close()
    admin.execute(f"drop database {name} with (force)".encode())


def insert(suite: Suite, table: str, **values: Any) -> None:
    suite.conn.execute(
        sql.SQL("insert into {} ({}) values ({})").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, values)),
            sql.SQL(", ").join(sql.Placeholder() for _ in values),
        ),
        [str(value) if isinstance(value, UUID) else value for value in values.values()],
    )


@FUZZ
@given(data=st.data())
def test_a_row_of_anything(suite: Suite, kind: KeyType, data: st.DataObject) -> None:
    company, project, child = data.draw(st.tuples(KEYS[kind], KEYS[kind], KEYS[kind]), "keys")
    extremes = data.draw(st.fixed_dictionaries({}, optional=EXTREMES), "columns")
    suite.run("set session_replication_role = replica; delete from candidate; delete from project;"
              " delete from company; delete from cdc.webhook; delete from cdc.subscription;"
              " reset session_replication_role")  # fmt: skip
    suite.clear()
    insert(suite, "company", id=company)
    hook = suite.register(str(company))
    insert(suite, "project", id=project, company_id=company, **extremes)
    suite.run("update project set id = id")
    insert(suite, "candidate", id=child, project_id=project)
    suite.run("begin; update candidate set id = id; update project set name = name || ''; commit")

    assert suite.unresolved() == []
    translator = Translator(default_mapping(), "https://suite.example/api/v3/")
    bodies = [
        json.loads(translator.body(delivery, suite.endpoints[hook]))
        for delivery in suite.deliveries()
    ]
    assert [(one["event"], one["data"]["action"]) for one in bodies] == [
        ("project_changed", "created"),
        ("project_changed", "modified"),
        ("candidate_changed", "created"),
        ("candidate_changed", "modified"),
        ("project_changed", "modified"),
    ]
    at = ["companies/{}/projects/{}/", "companies/{}/projects/{}/candidates/{}/"]
    for one in bodies:
        keys = keys_in(one["data"]["project"], at[0])
        assert keys == [str(company), str(project)]
        if "candidate" in one["data"]:
            keys = keys_in(one["data"]["candidate"], at[1])
            assert keys == [str(company), str(project), str(child)]


def keys_in(url: str, shape: str) -> list[str]:
    """The keys of an address, which must have exactly this shape and be plain ASCII."""
    assert url.isascii()
    assert url.isprintable()
    assert " " not in url
    path = url.removeprefix("https://suite.example/api/v3/").split("/")
    parts = shape.split("/")
    assert len(path) == len(parts), url
    found = []
    for part, wanted in zip(path, parts, strict=True):
        if wanted == "{}":
            found.append(unquote(part, errors="strict"))
        else:
            assert part == wanted
    return found


SHOUT = st.one_of(TEXT, st.sampled_from(["'", '"', "\\", "$1", "%s", "--", ";", "\u2028", "\r\n"]))


@FUZZ
@given(name=SHOUT)
@example(name="Robert'); drop table project; --")
def test_a_bulk_of_rows_with_any_text(suite: Suite, kind: KeyType, name: str) -> None:
    """More rows than are read one by one: their function puts the statement together."""
    if kind != "text":
        pytest.skip("only texts hold any text")
    suite.run("set session_replication_role = replica; delete from candidate; delete from project;"
              " delete from company; delete from cdc.webhook; delete from cdc.subscription;"
              " reset session_replication_role")  # fmt: skip
    suite.clear()
    insert(suite, "company", id=name)
    suite.register(name, "project_changed")
    with connect(suite.url) as conn:
        conn.execute(
            "insert into project (id, company_id) select %s || g, %s from generate_series(1, 70) g",
            (name, name),
        )
    assert suite.unresolved() == []
    assert {key for _, key in suite.changes()} == {f"{name}{g}" for g in range(1, 71)}
