"""A statement of a single row takes a shorter path; what it queues is the same."""

from __future__ import annotations

from typing import Any

import pytest

from tests.capture.kit import Suite
from tests.capture.test_changed import COLUMNS, WISHES, asked, declared, register

__all__ = ["asked"]  # the fixture

INCLUDES = (None, ["status"], ["score", "note", "twice"])
# Of candidate 1, and what makes it a statement of two rows.
CHANGES = {
    "a field": "update candidate set status = 'done' where id in (1{})",
    "two fields": "update candidate set score = 2, note = '[]' where id in (1{})",
    "the way a field is written": "update candidate set score = 1.00 where id in (1{})",
    "another column": "update candidate set other = 'x' where id in (1{})",
    "nothing": "update candidate set status = status where id in (1{})",
    "its key": "update candidate set id = id + 10 where id in (1{})",
    "an insert": "insert into candidate (id, project_id, status, score)"
    " select g, 17, 'new', 3 from unnest(array[11{}]) g",
}
QUEUED = (
    "select webhook_id, action::text, refs, included::text from cdc.queue"
    " where refs[cardinality(refs)] in ('1', '11') order by id, webhook_id"
)


@pytest.fixture(scope="module")
def every_wish(asked: Suite) -> Suite:
    for number, webhook in enumerate(register(asked, *WISHES)):
        asked.conn.execute(
            "update cdc.subscription set include = %s where webhook_id = %s",
            (INCLUDES[number % len(INCLUDES)], webhook),
        )
    return asked


def queued(suite: Suite, statement: str) -> list[tuple[Any, ...]]:
    suite.run(
        "set session_replication_role = replica; delete from candidate where id <> 19;"
        " insert into candidate (id, project_id, status, score) values"
        " (1, 17, 'new', 1.0), (2, 17, null, null); reset session_replication_role;"
        " delete from cdc.queue"
    )
    suite.run(statement)
    assert suite.unresolved() == []
    return suite.all(QUEUED)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_one_row_is_queued_as_it_is_among_others(every_wish: Suite, change: str) -> None:
    alone = queued(every_wish, change.format(""))
    other = ", 12" if change.startswith("insert") else ", 2"
    assert alone == queued(every_wish, change.format(other))
    assert alone, "some want all"
    assert any(included for *_, included in alone)


def test_without_a_webhook_that_agrees_nothing_is_queued(every_wish: Suite) -> None:
    every_wish.run(
        "begin; delete from cdc.subscription where changed is null or changed <> '{note}'"
    )
    every_wish.run("update cdc.subscription set changed = '{note}'")
    assert queued(every_wish, CHANGES["a field"].format("")) == []
    every_wish.run("rollback")


@pytest.mark.parametrize("odd", [None, "asked"], ids=["nothing asked", "changed fields asked"])
def test_a_single_row_is_read_by_the_shorter_path(own_suite: Suite, odd: str | None) -> None:
    """One statement reads it; where a webhook asks, one compares and one decides, in addition."""
    plans: list[str] = []
    own_suite.run(COLUMNS)
    own_suite.install(declared())
    register(own_suite, (None, None, None), (None, ["status"] if odd else None, None))
    own_suite.run("insert into candidate (id, project_id) values (7, 17)")
    fresh = Suite(own_suite.url)
    fresh.conn.add_notice_handler(lambda said: plans.append(said.message_detail or ""))
    fresh.run(
        "set debug_print_plan = on; set debug_pretty_print = off; set client_min_messages = log"
    )

    def reads(statement: str) -> int:
        plans.clear()
        fresh.run(statement)
        return len([plan for plan in plans if "new_rows" in plan])

    assert reads("update candidate set other = 'x' where id = 19") == (3 if odd else 1)
    assert reads("update candidate set other = 'x' where id in (7, 19)") > 2
    fresh.close()
