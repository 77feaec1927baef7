"""The doorbell's regimes: writers' throughput and latency as load grows, rung or not.

adaptive: as it is.  always: every writer rings, as with a NOTIFY in each transaction; the bench
arms the bell over and over.  never: CDC_DOORBELL=off, the daemon polls at growing intervals.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from tests.bench.account import summed
from tests.bench.bench import Bench
from tests.bench.figures import Figure
from tests.bench.load import writer
from tests.bench.place import SLOW_FLUSH, Database
from tests.bench.work import live

HOOKS = 50
SESSIONS = 16
RATES = (10, 50, 200, 1000, 3000, 0)
# An armed bell rings for 3 s more, once the daemon has changed its mind.
ADAPTED_AFTER = 4.0
MODES = ("adaptive", "always", "never")
ARM = "select setval('cdc.bell', (extract(epoch from clock_timestamp()) * 1e6)::bigint + 10000000)"
ARM_EVERY = 0.5


@contextmanager
def _rung(database: Database) -> Iterator[None]:
    """Keeps the bell armed, whatever the daemon thinks of it."""
    over = threading.Event()

    def arm() -> None:
        with psycopg.connect(database.url, autocommit=True) as conn:
            while True:
                conn.execute(ARM)
                if over.wait(ARM_EVERY):
                    return

    thread = threading.Thread(target=arm, name="arm the bell")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def _mode(bench: Bench, database: Database, mode: str) -> Iterator[None]:
    settings = {"CDC_DOORBELL": "off"} if mode == "never" else {}
    database.empty()
    database.run("select setval('cdc.bell', 1)")
    with bench.daemon(database, settings=settings):
        if mode == "always":
            with _rung(database):
                yield
        else:
            yield


def _point(bench: Bench, database: Database, rate: float, seconds: float) -> dict[str, Any]:
    """rate: 0 for as many as come about; a change counts from when it was sent then."""
    found = live.load(bench, database, rate, seconds, warm_up=ADAPTED_AFTER, sessions=SESSIONS)
    account = found.account
    return {
        "offered": rate or None,
        "written": round(found.written, 1),
        "p50": round(account.latency(0.5), 3),
        "p99": round(account.latency(0.99), 3),
        **summed([account]),
    }


def doorbell(bench: Bench) -> list[Figure]:
    """16 sessions, a flush of 1 ms, load from 10/s to saturation, measured 4 s after it began: the
    bell as it is; always rung (the benchmark arms it over and over); never (`CDC_DOORBELL=off`)."""
    seconds = bench.size.time(5)
    points: dict[str, list[dict[str, Any]]] = {}
    server = bench.server(SLOW_FLUSH)
    rows = live.rows(0, ADAPTED_AFTER + seconds)
    with server.database("bare", HOOKS, rows) as bare:
        written = bench.write(writer.Plan(bare.url, 0, seconds, SESSIONS, 1, rows))
        took = max(change.done for change in written) - min(change.sent for change in written)
        most = len(written) / took * 1e9
    with server.database("captured", HOOKS, rows) as database:
        database.register(bench.target.base())
        for mode in MODES:
            with _mode(bench, database, mode):
                points[mode] = [_point(bench, database, rate, seconds) for rate in RATES]
            bench.say(
                f"  {mode}: "
                + ", ".join(
                    f"{point['written']:,.0f}/s p99 {point['p99']:.3g}" for point in points[mode]
                )
            )
    return [
        Figure(
            "doorbell",
            f"16 sessions at saturation, bell {mode}",
            "/s",
            [points[mode][-1]["written"]],
            [most],
            "(a) no triggers",
            lost=sum(point["lost"] for point in points[mode]),
            repeated=sum(point["repeated"] for point in points[mode]),
            more={"points": points[mode]},
        )
        for mode in MODES
    ]
