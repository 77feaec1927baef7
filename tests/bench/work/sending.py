"""Other ways to drain: slow receivers, TLS, two processes; and doing nothing at all."""

from __future__ import annotations

import time

from tests.bench.bench import Bench
from tests.bench.figures import Bound, Figure
from tests.bench.place import Database
from tests.bench.work.drain import HOOKS, QUEUED, Drained, client, drained

SLOW, SLOW_HOOKS, CAP = 0.05, 200, 10
SLOW_QUEUED = 60_000
IDLE = 20.0
SETTLE_DOWN = 3.0

# A transaction each: nothing that an idle daemon does needs more than one statement.
_DONE = "select xact_commit + xact_rollback from pg_stat_database where datname = %s"


def _figure(
    workload: str,
    name: str,
    ours: list[Drained],
    base: list[float],
    against: str,
    bound: Bound | None,
) -> Figure:
    return Figure(
        workload,
        name,
        "/s",
        [run.rate for run in ours],
        base,
        against,
        bound,
        lost=sum(run.lost for run in ours),
        repeated=sum(run.repeated for run in ours),
        more={"daemon_cpu_us": [round(run.cpu, 1) for run in ours]},
    )


def slow(bench: Bench) -> list[Figure]:
    """Each answer takes 50 ms; 60,000 deliveries are queued over 200 webhooks."""
    count = bench.size.count(SLOW_QUEUED, 4000)
    most = SLOW_HOOKS * CAP / SLOW
    with bench.server().database("captured", SLOW_HOOKS, count) as database:
        database.register(bench.target.base(), cap=CAP)
        bench.target.delay(SLOW)
        ours = [drained(bench, database, count) for _ in range(bench.size.runs)]
        bench.target.delay(0)
    against = f"{SLOW_HOOKS} x {CAP} / {SLOW * 1000:g} ms"
    name = f"{count:,} queued, a receiver that takes {SLOW * 1000:g} ms"
    return [_figure("slow", name, ours, [most], against, Bound(0.8, 0.95))]


def processes(bench: Bench) -> list[Figure]:
    """50,000 rows are updated while one daemon, or two (`cdc run --processes 2`), run and are
    idle."""
    count = bench.size.count(QUEUED, 1000)
    found: dict[int, list[Drained]] = {1: [], 2: []}
    with bench.server().database("captured", HOOKS, count) as database:
        database.register(bench.target.base())
        for _ in range(bench.size.runs):
            for number, runs in found.items():
                runs.append(drained(bench, database, count, processes=number, while_running=True))
    return [
        _figure(
            "processes",
            f"two daemon processes, {count:,} at once",
            found[2],
            [run.rate for run in found[1]],
            "one",
            Bound(1.0, 1.3),
        )
    ]


def tls(bench: Bench) -> list[Figure]:
    """`drain` over TLS 1.3, connections kept."""
    count = bench.size.count(QUEUED, 1000)
    target = bench.target
    trust = {"SSL_CERT_FILE": str(target.ca_file)}
    plain, ours, aiohttp = [], [], []

    def drain(database: Database, *, tls: bool) -> Drained:
        database.register(target.base(tls=tls))
        return drained(bench, database, count, settings=trust)

    with bench.server().database("captured", HOOKS, count) as database:
        for _ in range(bench.size.runs):
            plain.append(drain(database, tls=False).rate)
            ours.append(drain(database, tls=True))
            aiohttp.append(client(bench, "aiohttp", count, tls=True))
    name = f"{count:,} queued deliveries over {HOOKS} webhooks, TLS"
    rates = [run.rate for run in ours]
    return [
        _figure("tls", name, ours, plain, "plain http", Bound(0.7, 0.85)),
        Figure("tls", "the same", "/s", rates, aiohttp, "(c) aiohttp's client alone, TLS"),
    ]


def idle(bench: Bench) -> list[Figure]:
    """Transactions that the server counts for the daemon's database, each of one statement; CPU
    from the kernel."""
    server = bench.server()
    seconds = bench.size.time(IDLE * 1.5)
    with server.database("captured", HOOKS, HOOKS) as database:
        database.register(bench.target.base())
        started, start_cpu = [], []
        for _ in range(bench.size.runs):
            began = time.monotonic()
            with bench.daemon(database) as daemon:
                started.append((time.monotonic() - began) * 1e3)
                start_cpu.append(daemon.cpu() * 1e3)
        with bench.daemon(database) as daemon, server.session() as conn:

            def done() -> int:
                row = conn.execute(_DONE, (database.name,)).fetchone()
                assert row is not None
                return int(row[0])

            time.sleep(SETTLE_DOWN)
            statements, cpu, began = done(), daemon.cpu(), time.monotonic()
            time.sleep(seconds)
            took = time.monotonic() - began
            statements, cpu = done() - statements, daemon.cpu() - cpu
    return [
        Figure(
            "idle",
            "start: from exec until it owns all shards",
            "ms",
            started,
            bound=Bound(1000, 600, of_baseline=False, better="less"),
        ),
        Figure("idle", "CPU of the daemon until then", "ms", start_cpu),
        Figure(
            "idle",
            "statements of an idle daemon",
            "/s",
            [statements / took],
            bound=Bound(2, of_baseline=False, better="less"),
        ),
        Figure(
            "idle",
            "CPU of an idle daemon",
            "%",
            [cpu / took * 100],
            bound=Bound(0.5, of_baseline=False, better="less"),
        ),
    ]
