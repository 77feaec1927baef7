"""Writers: the schedule is kept whatever the database does, and every change is recorded."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import psycopg
import pytest

from cdc.sandbox.embedded import EmbeddedPostgres
from tests.bench.account import Written
from tests.bench.kit import WITHIN, until
from tests.bench.load import writer
from tests.bench.place import Database, Server

ROWS = 40
RATE = 200.0
STEP = int(writer.SECOND / RATE)


@pytest.fixture(scope="module")
def database(postgres: EmbeddedPostgres) -> Iterator[Database]:
    with Server(postgres.url()).database("bare", 2, ROWS) as made:
        yield made


def written(plan: writer.Plan) -> list[Written]:
    sessions = [writer.Session(plan.url) for _ in range(plan.sessions)]
    try:
        records = writer.write(plan, sessions)
    finally:
        for session in sessions:
            session.close()
    return [Written._make(row) for row in writer.RECORD.iter_unpack(records)]


def test_each_row_is_changed_once_when_it_is_due(database: Database) -> None:
    found = sorted(written(writer.Plan(database.url, RATE, ROWS / RATE, 4, 1, ROWS)))
    assert [change.key for change in found] == list(range(1, ROWS + 1))
    assert {b.due - a.due for a, b in pairwise(found)} == {STEP}
    assert all(change.due <= change.sent <= change.done for change in found)
    assert database.ask("select count(*) from candidate where name ~ '^[0-9]+$'") == ROWS


def test_a_session_that_waits_makes_the_next_late_and_moves_no_schedule(
    database: Database,
) -> None:
    plan = writer.Plan(database.url, RATE, ROWS / RATE, 1, 1, ROWS)
    with psycopg.connect(database.url) as holder, ThreadPoolExecutor() as threads:
        holder.execute("select from candidate where id = 1 for update")
        writing = threads.submit(written, plan)
        until(lambda: database.ask(WAITING) == 1)
        released = time.monotonic_ns()
        holder.rollback()
        found = sorted(writing.result(WITHIN))
    assert {b.due - a.due for a, b in pairwise(found)} == {STEP}
    # There is one session, and it was waiting: the second could not leave before that.
    assert found[0].sent < released <= found[0].done <= found[1].sent


WAITING = (
    "select count(*) from pg_stat_activity"
    " where datname = current_database() and wait_event_type = 'Lock'"
)


def test_without_a_rate_each_session_sends_when_it_was_answered(database: Database) -> None:
    found = written(writer.Plan(database.url, 0, 0.2, 1, 1, ROWS))
    assert len(found) > 1
    assert all(change.due <= change.sent for change in found)
    assert all(b.sent >= a.done for a, b in pairwise(found))


def test_a_missing_row_is_reported(database: Database) -> None:
    with pytest.raises(SystemExit, match="there is no candidate"):
        written(writer.Plan(database.url, 0, 0.2, 1, ROWS + 1, 1))
