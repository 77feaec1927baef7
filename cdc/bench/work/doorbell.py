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

from cdc.bench.account import match
from cdc.bench.bench import Bench
from cdc.bench.figures import Figure
from cdc.bench.load import writer
from cdc.bench.place import SLOW_FLUSH, Database
from cdc.bench.work import live

HOOKS = 50
SESSIONS = 16
RATES = (10, 50, 200, 1000, 3000)
ROWS = 100_000
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


def _saturated(bench: Bench, database: Database, seconds: float) -> dict[str, Any]:
    """As many as come about: a change counts from when it was sent."""
    bench.target.clear()
    written = bench.write(writer.Plan(database.url, 0, seconds, SESSIONS, 1, ROWS))
    bench.target.wait_for(len(written), live.STRAGGLERS, lambda: None)
    receipts = bench.target.receipts()
    took = (max(w.done for w in written) - min(w.sent for w in written)) / 1e9
    account = match(written, receipts, HOOKS)
    return {
        "offered": None,
        "written": round(len(written) / took, 1),
        "p50": round(account.latency(0.5), 3),
        "p99": round(account.latency(0.99), 3),
        "lost": len(written) - len({receipt.uid for receipt in receipts}),
    }


def _offered(bench: Bench, database: Database, rate: float, seconds: float) -> dict[str, Any]:
    found = live.load(bench, database, rate, seconds, sessions=SESSIONS)
    return {
        "offered": rate,
        "written": round(found.written, 1),
        "p50": round(found.account.latency(0.5), 3),
        "p99": round(found.account.latency(0.99), 3),
        "lost": found.account.lost,
    }


def doorbell(bench: Bench) -> list[Figure]:
    """The doorbell's regimes: load from 10/s to saturation, a flush of 1 ms, 16 sessions."""
    seconds = bench.size.time(5)
    points: dict[str, list[dict[str, Any]]] = {}
    server = bench.server(SLOW_FLUSH)
    with server.database("bare", HOOKS, ROWS) as bare:
        written = bench.write(writer.Plan(bare.url, 0, seconds, SESSIONS, 1, ROWS))
        took = (max(w.done for w in written) - min(w.sent for w in written)) / 1e9
        most = len(written) / took
    with server.database("captured", HOOKS, ROWS) as database:
        database.register(bench.target.base())
        for mode in MODES:
            with _mode(bench, database, mode):
                points[mode] = [_offered(bench, database, rate, seconds) for rate in RATES]
                points[mode].append(_saturated(bench, database, seconds))
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
            more={"points": points[mode]},
        )
        for mode in MODES
    ]
