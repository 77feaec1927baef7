"""Drain: how fast a full queue is emptied by one daemon."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import NamedTuple

from cdc.sandbox.process import ProcessFailed
from tests.bench.account import tally
from tests.bench.bench import Bench
from tests.bench.figures import Bound, Figure, by_second, rate
from tests.bench.place import Database
from tests.bench.target import Receipt

QUEUED = 50_000
HOOKS = 50
WITHIN = 120.0
BOUNDLESS = {"CDC_UNRECORDED_LIMIT": "1000000"}
CONNECTIONS = (16, 32, 64, 128, 256)


class Drained(NamedTuple):
    """rate: deliveries a second, from the first receipt to the last.

    settled_after: seconds from the last receipt until the queue was empty.
    cpu, server_cpu: of the daemon and of PostgreSQL, microseconds a delivery; None: not known.
    """

    rate: float
    settled_after: float
    cpu: float
    server_cpu: float | None
    lost: int
    repeated: int
    receipts: list[Receipt]


def drained(
    bench: Bench,
    database: Database,
    count: int,
    *,
    processes: int = 1,
    settings: Mapping[str, str] | None = None,
    while_running: bool = False,
) -> Drained:
    """Queues so many deliveries and has them delivered.

    while_running: they are committed all at once while the daemon runs and is idle; else it is
                   started after that.
    """
    database.empty()
    bench.target.clear()
    if not while_running:
        database.change(count)
    with bench.daemon(database, processes=processes, settings=settings) as daemon:
        cpu, server = daemon.cpu(), bench.server().cpu()
        if while_running:
            database.change(count)
        if not bench.target.wait_for(count, WITHIN, daemon.check):
            raise ProcessFailed(
                f"{bench.target.count():,} of {count:,} deliveries came within {WITHIN:.0f} s",
                daemon.log_tail(),
            )
        came = time.monotonic()
        settled = daemon.settled(WITHIN)
        settled_after = time.monotonic() - came if settled else float("inf")
        cpu = (daemon.cpu() - cpu) / count * 1e6
        used = bench.server().cpu()
        if used is not None and server is not None:
            used = (used - server) / count * 1e6
    receipts = bench.target.receipts()
    lost, repeated = tally(count, receipts)
    return Drained(
        rate([r.at for r in receipts]), settled_after, cpu, used, lost, repeated, receipts
    )


def client(bench: Bench, kind: str, count: int, *, hooks: int = HOOKS, tls: bool = False) -> float:
    """Requests a second of a baseline's client, at the concurrency that is best for it."""
    name = f"{kind} {'TLS' if tls else 'plain'}"
    if name not in bench.best:
        found = {}
        for connections in CONNECTIONS:
            bench.post(kind, hooks, max(1000, count // 5), connections, tls=tls)
            found[connections] = _rate(bench)
        bench.best[name] = max(found, key=lambda connections: found[connections])
        bench.say(f"  {name}: best with {bench.best[name]} connections")
    bench.post(kind, hooks, count, bench.best[name], tls=tls)
    return _rate(bench)


def _rate(bench: Bench) -> float:
    return rate([receipt.at for receipt in bench.target.receipts()])


def drain(bench: Bench) -> list[Figure]:
    """50,000 rows are updated while no daemon runs; then one is started, and its rate counted
    from the first receipt to the last. (c) and (d) post as many."""
    count = bench.size.count(QUEUED, 1000)
    aiohttp, socket = [], []
    ours: list[Drained] = []
    boundless: list[Drained] = []
    with bench.server().database("captured", HOOKS, count) as database:
        database.register(bench.target.base())
        for run in range(bench.size.runs):
            aiohttp.append(client(bench, "aiohttp", count))
            socket.append(client(bench, "socket", count))
            # In turns: what comes later in a run finds another machine.
            for bound in (run % 2 == 0, run % 2 == 1):
                settings = {} if bound else BOUNDLESS
                drains = ours if bound else boundless
                drains.append(drained(bench, database, count, settings=settings))
            bench.say(
                f"  run {run + 1}: {ours[-1].rate:,.0f}/s;"
                f" aiohttp alone {aiohttp[-1]:,.0f}, a socket alone {socket[-1]:,.0f}"
            )
    times = [receipt.at for receipt in ours[-1].receipts]
    return [
        Figure(
            "drain",
            f"{count:,} queued deliveries over {HOOKS} webhooks",
            "/s",
            [run.rate for run in ours],
            aiohttp,
            "(c) aiohttp's client alone",
            Bound(1.0, 1.8),
            lost=sum(run.lost for run in ours),
            repeated=sum(run.repeated for run in ours),
            more={
                "settled_after_s": [round(run.settled_after, 3) for run in ours],
                "over_time": by_second(times, times[0], step=0.25),
                "over_time_step_s": 0.25,
                "connections": dict(bench.best),
            },
        ),
        Figure(
            "drain",
            "CPU a delivery, the daemon",
            "us",
            [run.cpu for run in ours],
            bound=Bound(100, 75, of_baseline=False, better="less"),
        ),
        *(
            Figure(
                "drain",
                "CPU a delivery, PostgreSQL",
                "us",
                used,
                bound=Bound(40, 30, of_baseline=False, better="less"),
            )
            for used in [[run.server_cpu for run in ours if run.server_cpu is not None]]
            if used
        ),
        Figure(
            "drain",
            "the same beside a bare socket",
            "/s",
            [run.rate for run in ours],
            socket,
            "(d) a bare socket alone",
        ),
        Figure(
            "drain",
            "the same beside a daemon that does not wait for recording",
            "/s",
            [run.rate for run in ours],
            [run.rate for run in boundless],
            "no bound on what is not recorded",
            Bound(0.95, 1.0),
            lost=sum(run.lost for run in boundless),
            repeated=sum(run.repeated for run in boundless),
            more={"baseline_daemon_cpu_us": [round(run.cpu, 1) for run in boundless]},
        ),
    ]
