"""A webhook with a filter gets changes of rows with these values, and nothing else is queued."""

from __future__ import annotations

import json

import pytest

from cdc.errors import MappingError
from cdc.mapping import Mapping, default_mapping
from cdc.mapping.load import MOST_FIELDS
from cdc.sandbox.suite import declaring
from tests.capture.kit import Suite

WANTS: dict[str, dict[str, list[str]] | None] = {
    "all": None,
    "interviewed": {"status": ["interviewed", "expired"]},
    "both": {"status": ["interviewed"], "score": ["7"]},
    "undeclared": {"nothing": ["x"]},
}
COLUMNS = "alter table candidate add status text, add score int, add letter json"


def mapping() -> Mapping:
    return declaring("candidate_changed", 'fields = ["status", "score", "letter"]')


@pytest.fixture
def wanting(own_suite: Suite) -> Suite:
    """A webhook for each wish, on the same company."""
    own_suite.run(COLUMNS)
    own_suite.install(mapping())
    for number, wants in enumerate(WANTS.values(), 1):
        assert own_suite.register("1", "candidate_changed") == number
        own_suite.conn.execute(
            "update cdc.subscription set filter = %s where webhook_id = %s",
            (None if wants is None else json.dumps(wants), number),
        )
    return own_suite


def queued(suite: Suite) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {name: [] for name in WANTS}
    for row in suite.queued():
        found[list(WANTS)[row.webhook - 1]].append(row.key)
    return found


def test_as_many_fields_as_a_mapping_may_declare(own_suite: Suite) -> None:
    """A function of PostgreSQL takes 100 arguments: with these no trigger could be installed."""
    names = [f"field_{n}" for n in range(MOST_FIELDS)]
    own_suite.run("alter table candidate " + ", ".join(f"add {name} text" for name in names))
    own_suite.install(declaring("candidate_changed", f"fields = {json.dumps(names)}"))
    webhook = own_suite.register("1", "candidate_changed")
    wants = {names[0]: ["a"], names[-1]: ["z"]}
    own_suite.conn.execute(
        "update cdc.subscription set filter = %s where webhook_id = %s",
        (json.dumps(wants), webhook),
    )
    own_suite.run(
        f"insert into candidate (id, project_id, {names[0]}, {names[-1]})"
        " values (20, 17, 'a', 'z'), (21, 17, 'a', 'a')"
    )
    assert [row.key for row in own_suite.queued()] == ["20"]
    assert own_suite.all("select from cdc.unresolved") == []


ROWS = """
insert into candidate (id, project_id, status, score) values
  (20, 17, 'interviewed', 7), (21, 17, 'interviewed', null), (22, 17, 'expired', 7),
  (23, 17, 'new', 7), (24, 17, null, 7), (25, 17, 'Interviewed', 8), (26, 17, '', 7)
"""


def test_a_row_has_to_fit_all_fields(wanting: Suite) -> None:
    wanting.run(ROWS)
    every = [str(n) for n in range(20, 27)]
    expected = {"all": every, "interviewed": every[:3], "both": every[:1], "undeclared": []}
    assert queued(wanting) == expected
    wanting.run("truncate cdc.queue; update candidate set name = 'x' where id >= 20")
    assert {name: sorted(got) for name, got in queued(wanting).items()} == expected


@pytest.mark.parametrize("rows", [1, 64, 65, 6000])
def test_small_and_large_statements(wanting: Suite, rows: int) -> None:
    """Each third row is wanted; planned for few rows, and for many, in either order."""
    for _ in range(2):
        wanting.run("truncate cdc.queue; delete from candidate where id >= 1000")
        wanting.run(
            "insert into candidate (id, project_id, status)"
            " select 1000 + g, 17, case g % 3 when 0 then 'interviewed' else 'new' end"
            f"  from generate_series(0, {rows - 1}) g"
        )
        got = queued(wanting)
        assert len(got["all"]) == rows
        assert sorted(got["interviewed"]) == [str(1000 + g) for g in range(0, rows, 3)]


def test_it_is_the_row_after_the_change(wanting: Suite) -> None:
    wanting.run("insert into candidate (id, project_id, status) values (20, 17, 'new')")
    wanting.run("update candidate set status = 'interviewed' where id = 20")
    wanting.run("update candidate set status = 'new' where id = 20")
    assert wanting.all("select action::text from cdc.queue where webhook_id = 2") == [("m",)]


def test_late_capture_asks_too(wanting: Suite) -> None:
    """Of the values that the row had then."""
    wanting.run(
        "begin; set constraints all deferred;"
        " insert into candidate (id, project_id, status) values (30, 21, 'interviewed');"
        " update candidate set status = 'new' where id = 30;"
        " insert into project values (21, 1); commit"
    )
    assert wanting.resolve() == 2
    assert queued(wanting) == {
        "all": ["30", "30"],
        "interviewed": ["30"],
        "both": [],
        "undeclared": [],
    }


def test_no_value_makes_it_fail(wanting: Suite) -> None:
    """jsonb refuses what json can hold; a filter is held against its text."""
    wanting.run(
        "insert into candidate (id, project_id, letter)"
        " values (20, 17, '\"\\u0000\"'), (21, 17, '{\"a\": 1}')"
    )
    assert queued(wanting)["all"] == ["20", "21"]
    assert not wanting.unresolved()


def test_values_of_fields_are_for_capture_alone(wanting: Suite) -> None:
    """What is kept of a row that waits: its values are seen by no role that commands have."""
    wanting.run("insert into candidate (id, project_id, status) values (20, null, 'interviewed')")
    assert wanting.one("select own ->> 'status' from cdc.unresolved") == "interviewed"
    for role in ("cdc_reader", "cdc_admin", "cdc_daemon", "cdc_serve"):
        sql = "select has_column_privilege(%s, 'cdc.unresolved', 'own', 'select')"
        assert wanting.one(sql, role) is False


def test_a_mapping_without_a_field_that_is_filtered_by_is_refused(wanting: Suite) -> None:
    """Its capture would queue all changes for that webhook."""
    wanting.run("delete from cdc.subscription where webhook_id = 4")
    with pytest.raises(MappingError) as caught:
        wanting.install(default_mapping())
    assert caught.value.message == (
        "resources.candidate.fields: lacks 'status', by which webhook 2 filters candidate_changed"
    )
    assert "`cdc webhook update 2 --no-filter`" in caught.value.hint
    wanting.run("update cdc.subscription set filter = null")
    wanting.install(default_mapping())
