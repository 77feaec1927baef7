"""What capture and delivery leave of the writers' throughput."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from statistics import median

from cdc.sandbox.process import ProcessFailed
from tests.bench.account import tally
from tests.bench.bench import Bench
from tests.bench.daemon import Daemon
from tests.bench.figures import Bound, Figure
from tests.bench.machine import lone_commit
from tests.bench.place import SLOW_FLUSH, Database, Kind, Server
from tests.bench.work.throughput import ROWS, Throughput, throughput

HOOKS = 50
BARE = "(a) no triggers"
FLUSH = (0.9, 2.0)  # milliseconds that a lone commit may take, to count as a flush of 1 ms
QUIET_AFTER = 5  # seconds after a daemon was killed in which writers may still ring
STRAGGLERS = 90.0

_LEFT = (
    "select greatest(0, last_value / 1e6 - extract(epoch from clock_timestamp()))::float8"
    " from cdc.bell"
)


class Writers:
    """The ways in which writers are measured, on one server, by so many clients."""

    def __init__(
        self, bench: Bench, server: Server, stack: ExitStack, clients: int, seconds: int
    ) -> None:
        self._bench = bench
        self._server = server
        self._stack = stack
        self._clients = clients
        self._seconds = seconds
        self._databases: dict[Kind, Database] = {}
        self.lost = self.repeated = 0

    def bare(self) -> Throughput:
        """Tables without triggers."""
        return self._load(self._database("bare"))

    def notify(self) -> Throughput:
        """A row trigger that notifies; nobody listens."""
        return self._load(self._database("notify"))

    def silent(self) -> Throughput:
        """Capture; no daemon, nobody has armed the bell."""
        database = self._fresh()
        database.run("select setval('cdc.bell', 1)")
        return self._load(database)

    def delivering(self) -> Throughput:
        """Capture, and a daemon that delivers everything meanwhile."""
        database, target = self._fresh(), self._bench.target
        target.clear()
        with self._bench.daemon(database) as daemon:
            found = self._load(database)
            target.wait_for(found.done, STRAGGLERS, daemon.check)
        lost, repeated = tally(found.done, target.receipts())
        self.lost += lost
        self.repeated += repeated
        return found

    def killed(self) -> Throughput:
        """Capture; a daemon that had armed the bell a moment before was killed."""
        database = self._fresh()
        daemon = Daemon(database, self._bench.folder / "daemon.log")
        try:
            deadline = time.monotonic() + 60
            while database.ask(_LEFT) < 2.9:
                daemon.check()
                if time.monotonic() > deadline:
                    raise daemon.failed("does not arm the bell")
        finally:
            daemon.kill()
        return self._load(database)

    def _load(self, database: Database) -> Throughput:
        return throughput(self._bench, self._server, database, self._clients, self._seconds)

    def _fresh(self) -> Database:
        database = self._database("captured")
        database.empty()
        return database

    def _database(self, kind: Kind) -> Database:
        if kind not in self._databases:
            made = self._stack.enter_context(self._server.database(kind, HOOKS, ROWS))
            if kind == "captured":
                made.register(self._bench.target.base())
            self._databases[kind] = made
        return self._databases[kind]


def _in_turns(bench: Bench, ways: list[Callable[[], Throughput]]) -> dict[str, list[Throughput]]:
    """Runs all of them in turns, nobody always first."""
    found: dict[str, list[Throughput]] = {way.__name__: [] for way in ways}
    for turn in range(bench.size.runs):
        first = turn % len(ways)
        for way in ways[first:] + ways[:first]:
            found[way.__name__].append(way())
        told = (f"{name} {some[-1].rate:,.0f}" for name, some in found.items())
        bench.say(f"  run {turn + 1}: {', '.join(told)} transactions/s")
    return found


def flush(bench: Bench) -> list[Figure]:
    """pgbench, single-row updates of 10,000 rows, 16 clients, on a server whose flush takes 1 ms
    (`fsync = on`, `commit_delay = 1000`, `commit_siblings = 0`; where a lone commit takes less,
    nothing is measured): with a daemon that delivers all of it, and after a daemon that had just
    armed the doorbell was killed."""
    server = bench.server(SLOW_FLUSH)
    commit = lone_commit(server)
    if commit < FLUSH[0]:
        raise ProcessFailed(
            f"a lone commit takes {commit:.2f} ms, so a flush of 1 ms is not simulated"
        )
    seconds = max(QUIET_AFTER + 3, round(bench.size.time(10)))
    with ExitStack() as stack:
        writers = Writers(bench, server, stack, 16, seconds)
        found = _in_turns(bench, [writers.bare, writers.delivering, writers.killed, writers.notify])
    bare = [run.rate for run in found["bare"]]
    what = f"16 clients, a lone commit takes {commit:.2g} ms"
    return [
        Figure(
            "flush",
            f"{what}: daemon delivering",
            "/s",
            [run.rate for run in found["delivering"]],
            bare,
            BARE,
            Bound(0.9, 0.97),
            lost=writers.lost,
            repeated=writers.repeated,
            more=_over_time(found["delivering"]),
            note="" if commit <= FLUSH[1] else "flushing takes longer than 1 ms here",
        ),
        Figure(
            "flush",
            f"... from {QUIET_AFTER} s after a daemon was killed",
            "/s",
            [median(run.over_time[QUIET_AFTER:]) for run in found["killed"]],
            bare,
            BARE,
            Bound(0.9, 0.97),
            more=_over_time(found["killed"]),
        ),
        Figure(
            "flush",
            "... with a row trigger that calls pg_notify",
            "/s",
            [run.rate for run in found["notify"]],
            bare,
            BARE,
        ),
    ]


def _over_time(runs: list[Throughput]) -> dict[str, object]:
    seconds = zip(*(run.over_time for run in runs), strict=False)
    return {"by_second": [round(median(second), 1) for second in seconds]}


def writers(bench: Bench) -> list[Figure]:
    """The same with 8 clients and no flush, so the processors are the limit: capture alone, and
    with a daemon."""
    server = bench.server()
    seconds = max(2, round(bench.size.time(8)))
    with ExitStack() as stack:
        some = Writers(bench, server, stack, 8, seconds)
        found = _in_turns(bench, [some.bare, some.silent, some.delivering, some.notify])
    bare = [run.rate for run in found["bare"]]

    def figure(name: str, way: str, bound: Bound | None) -> Figure:
        return Figure("writers", name, "/s", [run.rate for run in found[way]], bare, BARE, bound)

    delivering = figure(
        "... with a daemon delivering everything meanwhile", "delivering", Bound(0.42, 0.55)
    )
    delivering.lost, delivering.repeated = some.lost, some.repeated
    return [
        figure("8 clients, no flush: capture alone", "silent", Bound(0.68, 0.8)),
        delivering,
        figure("... with a row trigger that calls pg_notify", "notify", None),
    ]
