"""The price of a change: the same whatever the session did before, and whatever tables held."""

from __future__ import annotations

import pytest

from tests.capture.kit import Suite

PARENTS = ("candidate", "project", "company", "subscription")


@pytest.fixture
def big(own_suite: Suite) -> Suite:
    # Foreign keys read parents, too, by plans that are cached like ours, but are not ours.
    own_suite.run(
        """
        alter table candidate drop constraint candidate_project_id_fkey;
        alter table rating drop constraint rating_candidate_id_fkey,
          add more int not null default 0;
        """
    )
    own_suite.register("1")
    return own_suite


def one_row(suite: Suite, times: int) -> None:
    """Changes of the row whose parent lies last in its index."""
    last = suite.one("select max(id) from rating")
    for number in range(times):
        suite.conn.execute("update rating set more = %s where id = %s", (number, last))


def bulk(suite: Suite) -> None:
    """100,000 candidates and as many ratings, each by one statement."""
    suite.run("insert into candidate select g, 17 from generate_series(1001, 101000) g")
    suite.run("insert into rating select g, g from generate_series(1001, 101000) g")


def assert_by_index(suite: Suite) -> None:
    """A single-row statement of this session reads one row of each parent, not the whole."""
    suite.run("begin")
    before = {table: suite.rows_read(table) for table in PARENTS}
    one_row(suite, 8)
    for table in PARENTS:
        assert suite.rows_read(table) - before[table] <= 8
    suite.run("commit")


def test_single_rows_before_and_after_a_bulk(big: Suite) -> None:
    """The plan of the session is made when the parents hold one row, and lasts until they hold
    100,000; a bulk statement in between gets a plan of its own."""
    big.run("alter table candidate set (autovacuum_enabled = off)")
    big.run("vacuum analyze")
    one_row(big, 8)
    assert_by_index(big)
    bulk(big)
    assert_by_index(big)
    assert len(big.queued()) == 8 + 8 + 100_000 + 100_000 + 8
    assert big.unresolved() == []
    keys = {row.key for row in big.queued() if row.event == "rating_changed"}
    assert keys == {"9", *(str(g) for g in range(1001, 101001))}
    big.clear()
    # A new session, whose first statement is the bulk one.
    fresh = Suite(big.url)
    fresh.run("update rating set more = more + 1")
    assert_by_index(fresh)
    assert len(fresh.queued()) == 100_001 + 8
    fresh.close()


def test_64_rows_at_first(big: Suite) -> None:
    """The largest statement that is served by the session's plan is the first one."""
    big.run("insert into candidate select g, 17 from generate_series(1001, 2000) g")
    big.run("insert into rating select g, g from generate_series(1001, 1063) g")
    big.run("vacuum analyze")
    fresh = Suite(big.url)
    fresh.run("update rating set more = 1")
    assert_by_index(fresh)
    fresh.close()
