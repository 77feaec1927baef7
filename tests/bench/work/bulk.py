"""Bulk statements, and what they leave behind in their session."""

from __future__ import annotations

import time
from statistics import median

import psycopg

from tests.bench.bench import Bench
from tests.bench.constant import BULK_TRIGGER
from tests.bench.figures import Bound, Figure
from tests.bench.place import Database

ROWS = 100_000
HOOKS = 50
SINGLES = 500
LEAST_RUNS = 3


def bulk(bench: Bench) -> list[Figure]:
    """One statement, in a new session, on a table without dead rows, with and without capture, and
    with a statement trigger that inserts constants for each row into a table like the queue;
    then 500 single-row updates before and after it in one session."""
    rows = bench.size.count(ROWS, 1000)
    runs = max(bench.size.runs, LEAST_RUNS)
    server = bench.server()
    with (
        server.database("bare", HOOKS, rows) as bare,
        server.database("captured", HOOKS, rows) as captured,
        server.database("constant", HOOKS, rows) as constant,
    ):
        captured.register(bench.target.base())
        constant.run(BULK_TRIGGER)
        without, with_capture, constants = [], [], []
        for _ in range(runs):
            without.append(_statement(bare, rows))
            constant.run("truncate constant_queue")
            constants.append(_statement(constant, rows))
            with_capture.append(_statement(captured, rows))
        before, after = zip(*(_around(captured, rows) for _ in range(runs)), strict=True)
    return [
        Figure(
            "bulk",
            f"one statement that updates {rows:,} rows, with capture",
            "s",
            with_capture,
            without,
            BARE,
            Bound(2.5, 1.8, better="less"),
        ),
        Figure(
            "bulk",
            "... with a statement trigger that inserts constants",
            "s",
            constants,
            without,
            BARE,
        ),
        Figure(
            "bulk",
            "a single-row update after that, in the same session",
            "ms",
            list(after),
            list(before),
            "the same before it",
            Bound(1.1, 1.0, better="less"),
        ),
    ]


BARE = "(a) no triggers"


def _statement(database: Database, rows: int) -> float:
    """Seconds that it takes, in a new session, on a table without dead rows."""
    _tidy(database)
    began = time.perf_counter()
    database.change(rows)
    return time.perf_counter() - began


def _tidy(database: Database) -> None:
    if database.ask("select to_regclass('cdc.queue')") is not None:
        database.empty()
    database.run("vacuum candidate")


def _around(database: Database, rows: int) -> tuple[float, float]:
    """Median milliseconds of single-row updates before and after a bulk one."""
    database.change(rows)  # the table is as large before as after
    _tidy(database)
    with psycopg.connect(database.url, autocommit=True) as conn:
        before = _singles(conn, rows)
        conn.execute("update candidate set name = clock_timestamp()::text where id <= %s", (rows,))
        _tidy(database)
        return before, _singles(conn, rows)


def _singles(conn: psycopg.Connection[tuple[object, ...]], rows: int) -> float:
    took = []
    for number in range(SINGLES):
        began = time.perf_counter()
        conn.execute(
            "update candidate set name = %s where id = %s", (str(number), 1 + number * 7 % rows)
        )
        took.append(time.perf_counter() - began)
    return median(took) * 1000
