"""What could not be captured at once: one that never can be keeps no other waiting."""

from __future__ import annotations

import pytest

from tests.capture.kit import Suite

ORPHAN = "insert into rating (id, candidate_id) values (10, 777)"
PARENT = "insert into candidate (id, project_id) values (777, 17)"
MINE = """
insert into cdc.unresolved (resource, source, key, action, "time", own, reason, tries)
values ('{resource}', 'x', 'x', 'c', now(), '{own}', 'x', 1)
"""


@pytest.fixture
def suite(own_suite: Suite) -> Suite:
    own_suite.register("1")
    own_suite.run("alter table rating drop constraint rating_candidate_id_fkey")
    return own_suite


def test_one_that_cannot_be_read_does_not_keep_its_neighbours(suite: Suite) -> None:
    """As where a column has got another type, or the row was forged."""
    suite.run(MINE.format(resource="rating", own="[1]"))
    suite.run(ORPHAN)
    suite.run(PARENT)
    suite.clear_queue()
    assert sum(suite.resolve() for _ in range(3)) == 1
    assert ("c", "10") in suite.changes()
    assert suite.unresolved() == [("rating", "x")]


def test_a_resource_that_no_mapping_has_waits(suite: Suite) -> None:
    suite.run(MINE.format(resource="gone", own="{}"))
    assert suite.resolve() == 0
    assert suite.all("select tries, retry_at > clock_timestamp() from cdc.unresolved") == [
        (2, True)
    ]


@pytest.mark.parametrize(
    "code", ["raise sqlstate '40001'", "raise sqlstate '40P01'", "perform pg_sleep(60)"]
)
def test_a_table_that_cannot_be_read_does_not_keep_the_others(suite: Suite, code: str) -> None:
    """What its owner has put there raises, or takes for ever."""
    suite.run("alter table answervideo drop constraint answervideo_question_id_fkey")
    suite.run(ORPHAN)
    suite.run("insert into answervideo (id, candidate_id, question_id) values (20, 19, 555)")
    suite.run(PARENT)
    suite.clear_queue()
    suite.run(
        "alter table question rename to real_question;"
        "create function look(number bigint) returns bigint language plpgsql as"
        f" $$begin {code}; return number; end$$;"
        "create view question as select id, look(project_id) as project_id from real_question;"
        "insert into real_question (id, project_id) values (555, 17);"
        "grant select on question to cdc_capture;"
        "update cdc.unresolved set tries = 2, retry_at = clock_timestamp()"
    )
    suite.run("set statement_timeout = 300")
    assert sum(suite.resolve_due() for _ in range(2)) == 1
    suite.run("reset statement_timeout")
    assert suite.changes() == [("c", "10")]
    assert suite.unresolved() == [("answervideo", "20")]


@pytest.mark.parametrize("value", ['"\\ud800"', "1e200000", "-1E-99999", '"\\u0000"'])
def test_a_column_of_json_does_not_hide_the_rows_of_its_statement(suite: Suite, value: str) -> None:
    """What json can hold and jsonb cannot, beside a key that was renamed under the mapping."""
    suite.run("alter table rating add doc json")
    suite.run("alter table rating rename id to number")
    suite.run(f"insert into rating (number, candidate_id, doc) values (10, 19, '{value}')")
    suite.run("insert into rating (number, candidate_id) values (11, 19)")
    kept = suite.all("select own -> 'number', own ? 'doc' from cdc.unresolved order by id")
    assert kept == [(10, False), (11, False)]


def test_a_writer_who_has_all_names_quoted(suite: Suite) -> None:
    suite.run("set quote_all_identifiers = on")
    suite.run("alter table rating rename id to number")
    suite.run("insert into rating (number, candidate_id) values (10, 19)")
    suite.run("alter table rating rename number to id; reset quote_all_identifiers")
    assert suite.resolve() == 1
    assert suite.changes() == [("c", "10")]
