"""A webhook that includes fields gets their values with each change, and no other webhook does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from cdc.errors import MappingError
from cdc.sandbox.suite import declaring
from tests.capture.kit import RESET, Suite
from tests.capture.test_changed import declared

# Column by column: its type, a value, and what is sent of it whatever the writer's session has set.
TYPES: dict[str, tuple[str, str, str]] = {
    "plain": ("text", "'it''s \"é\" \\ 😀' || chr(9)", r'"it' + "'" + r's \"é\" \\ 😀\t"'),
    "nothing": ("text", "null", "null"),
    "empty": ("text", "''", '""'),
    "padded": ("char(3)", "'a'", '"a  "'),
    "truth": ("boolean", "true", "true"),
    "whole": ("bigint", "9223372036854775807", "9223372036854775807"),
    "exact": ("numeric", "12345678901234567890.1200", "12345678901234567890.1200"),
    "no_number": ("numeric", "'NaN'", '"NaN"'),
    "approximate": ("double precision", "1::float8 / 3", "0.3333333333333333"),
    "single": ("real", "0.1", "0.1"),
    "endless": ("double precision", "'-Infinity'", '"-Infinity"'),
    "amount": ("money", "1234.5", '"$1,234.50"'),
    "day": ("date", "'2015-03-16'", '"2015-03-16"'),
    "moment": ("timestamptz", "'2015-03-16 16:32:34.5+01'", '"2015-03-16T15:32:34.5+00:00"'),
    "local": ("timestamp", "'2015-03-16 15:32:34'", '"2015-03-16T15:32:34"'),
    "forever": ("timestamptz", "'infinity'", '"infinity"'),
    "clock": ("time", "'15:32:34'", '"15:32:34"'),
    "span": ("interval", "'1 month 2 days 03:04:05.5'", '"P1M2DT3H4M5.5S"'),
    "days": ("daterange", "'[2015-03-16,2015-03-18)'", '"[2015-03-16,2015-03-18)"'),
    "bytes": ("bytea", "decode('00ff', 'hex')", r'"\\x00ff"'),
    "id_": ("uuid", "'0F6AE0B3-5C0D-4A58-9D1C-6A3A2F3E9B57'",
            '"0f6ae0b3-5c0d-4a58-9d1c-6a3a2f3e9b57"'),
    "kind": ("mood", "'sad'", '"sad"'),
    "kinds": ("mood[]", "array['sad', null]::mood[]", '["sad",null]'),
    "dates": ("date[]", "'{2015-03-16}'", '["2015-03-16"]'),
    "table_": ("int[]", "'{{1,2},{3,4}}'", "[[1,2],[3,4]]"),
    "pair": ("pair", "row(1, '2015-03-16')::pair", '{"a":1,"b":"2015-03-16"}'),
    "letter": ("json", "'{\"b\":1,  \"a\":\"\\u0000\", \"b\": 1e999999}'",
               '{"b":1,  "a":"\\u0000", "b": 1e999999}'),
    "parsed": ("jsonb", "'{\"b\":1.50, \"a\":[]}'", '{"a": [], "b": 1.50}'),
    "no_json": ("jsonb", "'null'", "null"),
    "address": ("inet", "'10.0.0.1'", '"10.0.0.1"'),
    "bits": ("bit(3)", "b'101'", '"101"'),
}  # fmt: skip
ODD_SESSION = """
set datestyle = 'German, DMY'; set intervalstyle = 'sql_standard'; set timezone = 'Asia/Kathmandu';
set bytea_output = 'escape'; set extra_float_digits = -15
"""
COLUMNS = "create type mood as enum ('sad'); create type pair as (a int, b date);" + "".join(
    f"alter table candidate add {name} {kind};" for name, (kind, *_) in TYPES.items()
)


@pytest.fixture(scope="module")
def including(shared_database: str) -> Iterator[Suite]:
    made = Suite(shared_database)
    made.run(RESET)
    made.run(COLUMNS)
    made.run(
        "alter table candidate add status text, add score numeric, add other text;"
        " create table large (value text); insert into large values (repeat('x', 5000000))"
    )
    fields = f"fields = {json.dumps(['status', 'score', *TYPES])}"
    made.install(declaring("candidate_changed", fields, "deleted = true"))
    yield made
    made.close()


@pytest.fixture
def suite(including: Suite) -> Iterator[Suite]:
    including.run(
        "delete from cdc.webhook; set session_replication_role = replica;"
        " delete from candidate where id <> 19; reset session_replication_role;"
        " delete from cdc.queue; delete from cdc.unresolved"
    )
    yield including
    including.run("reset all")


def wanting(suite: Suite, *fields: str, **wishes: Any) -> int:
    """A webhook that includes these fields."""
    webhook = suite.register("1", "candidate_changed")
    columns = {"include": list(fields) or None, **wishes}
    for name, value in columns.items():
        suite.conn.execute(
            f"update cdc.subscription set {name} = %s where webhook_id = %s".encode(),
            (value, webhook),
        )
    return webhook


def values(suite: Suite, webhook: int) -> list[dict[str, Any] | None]:
    """What is queued for it, row by row."""
    found = suite.all("select included from cdc.queue where webhook_id = %s order by id", webhook)
    return [row[0] for row in found]


@pytest.mark.parametrize("rows", [1, 65])
@pytest.mark.parametrize("captured", ["at once", "parent later", "parent locked"])
def test_each_type(suite: Suite, rows: int, captured: str) -> None:
    """The same text in every session, captured at once, as one of many, and late."""
    late = captured != "at once"
    suite.run(
        "set session_replication_role = replica; delete from project where id = 99;"
        " insert into candidate (id, project_id)"
        f" select 1000 + g, 17 from generate_series(1, {rows}) g; reset session_replication_role"
    )
    suite.run(ODD_SESSION)
    webhook = wanting(suite, *TYPES)
    # jsonb refuses it: it is not kept of a row that waits (below).
    values = {n: "null" if late and n == "letter" else value for n, (_, value, _) in TYPES.items()}
    sets = ", ".join(f"{name} = {value}" for name, value in values.items())
    update = f"update candidate set {sets}, project_id = PROJECT where id > 1000"
    match captured:
        case "at once":
            suite.run(update.replace("PROJECT", "17"))
        case "parent later":
            suite.run(
                f"begin; set constraints all deferred; {update.replace('PROJECT', '99')};"
                " insert into project values (99, 1); commit"
            )
        case _:
            with suite.command.transaction():
                suite.command.execute(b"lock table public.project in access exclusive mode")
                suite.run(update.replace("PROJECT", "project_id"))
    suite.run("reset all")
    assert suite.resolve() == (rows if late else 0)
    assert suite.unresolved() == []
    changed = ", ".join(f'"{name}"' for name in TYPES if values[name] != "null")
    fields = ", ".join(
        f'"{name}": {"null" if values[name] == "null" else sent}'
        for name, (*_, sent) in TYPES.items()
    )
    expected = f'{{"changed": [{changed}], "fields": {{{fields}}}}}'
    sql = "select distinct included::text from cdc.queue where webhook_id = %s"
    assert suite.all(sql, webhook) == [(expected,)]
    json.loads(expected)


def test_what_changed(suite: Suite) -> None:
    """Of the fields that are included, in the order of the mapping; with their values afterwards,
    of a deleted row those before."""
    one, both, none = (
        wanting(suite, "status", actions="cmd"),
        wanting(suite, "score", "status", actions="cmd"),
        wanting(suite, actions="cmd"),
    )
    for sql, changed in {
        "insert into candidate (id, project_id, status) values (1, 17, 'new')": ["status", "score"],
        "update candidate set score = 1.50 where id = 1": ["score"],
        "update candidate set status = 'done', other = 'x' where id = 1": ["status"],
        "update candidate set other = 'y' where id = 1": [],
        "update candidate set id = 2 where id = 1": ["status", "score"],
        "delete from candidate where id = 2": ["status", "score"],
    }.items():
        suite.run("delete from cdc.queue")
        before = suite.all("select status, score::float from candidate where id < 3")
        suite.run(sql)
        after = suite.all("select status, score::float from candidate where id < 3")
        [(status, score)] = after or before
        assert values(suite, one) == [
            {"changed": [n for n in changed if n == "status"], "fields": {"status": status}}
        ], sql
        assert values(suite, both) == [
            {"changed": changed, "fields": {"status": status, "score": score}}
        ], sql
        assert values(suite, none) == [None], sql
        assert '"fields": {"status": ' in suite.one(
            "select included::text from cdc.queue where webhook_id = %s", both
        )


@pytest.mark.parametrize("rows", [1, 64, 65, 6000])
def test_small_and_large_statements(suite: Suite, rows: int) -> None:
    """Each gets its own row's values, and each webhook the fields that it includes."""
    status, score, none = (
        wanting(suite, "status"),
        wanting(suite, "score", changed=["score"]),
        wanting(suite),
    )
    suite.run(
        "insert into candidate (id, project_id, status, score)"
        f" select 1000 + g, 17, 's' || g, 0 from generate_series(0, {rows - 1}) g"
    )
    suite.run("delete from cdc.queue")
    suite.run("update candidate set score = case id % 3 when 0 then id else score end"
              " where id >= 1000")  # fmt: skip
    found: dict[int, dict[int, Any]] = {status: {}, score: {}, none: {}}
    for webhook, key, included in suite.all(
        "select webhook_id, refs[cardinality(refs)]::int, included from cdc.queue"
    ):
        found[webhook][key] = included
    keys = range(1000, 1000 + rows)
    assert found == {
        status: {key: {"changed": [], "fields": {"status": f"s{key - 1000}"}} for key in keys},
        score: {
            key: {"changed": ["score"], "fields": {"score": key}} for key in keys if key % 3 == 0
        },
        none: dict.fromkeys(keys),
    }


def test_what_is_too_long_is_left_out_and_named(suite: Suite) -> None:
    """In the mapping's order, a value that does not fit into the rest of 4,000 bytes."""
    fields = "status", "score", "plain", "empty"
    webhook = wanting(suite, *fields)
    for sql, omitted in {
        "repeat('x', 3998), null, '', ''": ["score", "plain", "empty"],
        "repeat('x', 3992), null, '', ''": ["empty"],
        "repeat('x', 3999), 1, 'a', ''": ["status"],
        "repeat('é', 1998), 1, repeat('é', 2000), ''": ["plain", "empty"],
        "repeat('\"', 2000), 1, 'a', ''": ["status"],
        "'a', 1, repeat('x', 3996), ''": ["plain"],
        # Compressed, and never turned into JSON: that would take a writer's time and memory.
        "(select value from large), 1, 'a', ''": ["status"],
        "'a', 1, 'a', ''": [],
    }.items():
        suite.run("delete from candidate where id = 1; delete from cdc.queue")
        suite.run(
            f"insert into candidate (id, project_id, {', '.join(fields)}) select 1, 17, {sql}"
        )
        [found] = values(suite, webhook)
        assert found is not None
        assert found.get("omitted", []) == omitted, sql
        assert list(found["fields"]) == [name for name in fields if name not in omitted], sql
        assert ("omitted" in found) == bool(omitted)
        assert found["changed"] == list(fields)


def test_the_longest_is_sent(suite: Suite) -> None:
    """What capture makes of as many fields as there can be is not too long for the daemon."""
    names = [f"{'f' * 60}{n:02}" for n in range(62)]
    made = suite.one(
        "select cdc.bounded(cdc.included(%s::text[], array_fill(%s::text, array[62]),"
        " %s::text[], -1))",
        names,
        f'"{"é" * 30}"',
        names,
    )
    assert json.loads(made)["fields"][names[0]] == "é" * 30
    assert suite.one("select cdc.bounded(to_json(repeat('x', 20000)))") is None
    assert suite.one("select cdc.bounded(to_json(value)) from large") is None


def test_late_capture_keeps_the_values(suite: Suite) -> None:
    """Those that the row had then, and what was changed then."""
    webhook = wanting(suite, "status", "score")
    suite.run("insert into candidate (id, project_id, status) values (1, 17, 'new')")
    suite.run("delete from cdc.queue")
    with suite.command.transaction():
        suite.command.execute(b"lock table public.project in access exclusive mode")
        suite.run("update candidate set status = 'a' where id = 1")
        suite.run("update candidate set score = 7 where id = 1")
    assert suite.resolve() == 2
    assert values(suite, webhook) == [
        {"changed": ["status"], "fields": {"status": "a", "score": None}},
        {"changed": ["score"], "fields": {"status": "a", "score": 7}},
    ]


def test_what_was_not_kept_is_named(suite: Suite) -> None:
    """A value that jsonb refuses is not kept of a row that waits. It is not null, either."""
    suite.run("insert into candidate (id, project_id) values (1, 17)")
    webhook = wanting(suite, "status", "letter")
    with suite.command.transaction():
        suite.command.execute(b"lock table public.project in access exclusive mode")
        suite.run("update candidate set status = 'a', letter = '\"\\u0000\"' where id = 1")
    assert suite.resolve() == 1
    assert values(suite, webhook) == [
        {"changed": ["status", "letter"], "fields": {"status": "a"}, "omitted": ["letter"]}
    ]


def test_nothing_is_written_unless_it_is_asked_for(suite: Suite) -> None:
    wanting(suite)
    suite.run("insert into candidate (id, project_id, status) values (1, 17, 'a')")
    suite.run("update candidate set status = 'b' where id = 1")
    assert suite.all("select count(*) from cdc.queue where included is null") == [(2,)]
    bodies = suite.all("select prosrc from pg_proc where proname ~ '^(capture|resolve)_'")
    assert sum("included" in body or "DateStyle" in body for (body,) in bodies) == 2


def test_a_filter_means_the_same_in_each_session(suite: Suite) -> None:
    """It is held against the text of a value, which a session's settings decide."""
    webhook = wanting(suite, filter=json.dumps({"day": ["2015-03-16"], "bytes": ["\\x00ff"]}))
    suite.run(ODD_SESSION)
    suite.run(
        "insert into candidate (id, project_id, day, bytes)"
        " values (1, 17, '16.03.2015', decode('00ff', 'hex'))"
    )
    assert values(suite, webhook) == [None]
    assert suite.one("show datestyle") == "German, DMY"
    assert suite.one("show timezone") == "Asia/Kathmandu"


def test_values_are_for_the_daemon_alone(suite: Suite) -> None:
    """Readers see none of them, and capture writes them only."""
    sql = "select has_column_privilege(%s, %s, 'included', 'select')"
    for role, may in {
        "cdc_reader": False,
        "cdc_capture": False,
        "cdc_daemon": True,
        "cdc_admin": True,
        "cdc_serve": True,
    }.items():
        for table in ("cdc.queue", "cdc.retry", "cdc.dead"):
            assert suite.one(sql, role, table) is may, (role, table)
    wanting(suite, "status")
    suite.run("insert into candidate (id, project_id, status) values (1, 17, 'a')")
    suite.run("set role cdc_reader")
    try:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            suite.all("select included from cdc.queue")
        assert suite.all("select id from cdc.queue") != []
    finally:
        suite.run("reset role")


def test_a_mapping_without_a_field_that_is_included_is_refused(own_suite: Suite) -> None:
    own_suite.run("alter table candidate add status text, add score int")
    own_suite.install(declared(("status", "score")))
    webhook = own_suite.register("1", "candidate_changed")
    own_suite.run("update cdc.subscription set include = '{score}'")
    with pytest.raises(MappingError) as caught:
        own_suite.install(declared(("status",)))
    assert caught.value.message == (
        f"resources.candidate.fields: lacks 'score', whose values webhook {webhook} gets in "
        "candidate_changed"
    )
    assert f"`cdc webhook update {webhook} --no-include`" in caught.value.hint
    own_suite.run("update cdc.subscription set include = null")
    own_suite.install(declared(("status",)))
    assert own_suite.mapping.events["candidate_changed"].fields == ("status",)
