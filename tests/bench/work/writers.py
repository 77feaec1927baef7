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
CONSTANT = "(e) a constant into a queue"
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
        self.delivery: list[tuple[float, float]] = []
        """Processor seconds of daemon and receiver, while it delivers beside writers."""

    def bare(self) -> Throughput:
        """Tables without triggers."""
        return self._load(self._database("bare"))

    def notify(self) -> Throughput:
        """A row trigger that notifies; no session listens."""
        return self._load(self._database("notify"))

    def constant(self) -> Throughput:
        """A row trigger that inserts constants into a table like the queue."""
        database = self._database("constant")
        database.run("truncate constant_queue")
        return self._load(database)

    def silent(self) -> Throughput:
        """Capture; no daemon, the doorbell is not armed."""
        database = self._fresh()
        database.run("select setval('cdc.bell', 1)")
        return self._load(database)

    def delivering(self) -> Throughput:
        """Capture, and a daemon that delivers everything meanwhile."""
        database, target = self._fresh(), self._bench.target
        target.clear()
        with self._bench.daemon(database) as daemon:
            before = daemon.cpu(), target.cpu()
            found = self._load(database)
            self.delivery.append((daemon.cpu() - before[0], target.cpu() - before[1]))
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
    """Runs all of them in turns, none always first."""
    found: dict[str, list[Throughput]] = {way.__name__: [] for way in ways}
    for turn in range(bench.size.runs):
        first = turn % len(ways)
        for way in ways[first:] + ways[:first]:
            found[way.__name__].append(way())
        rates = (f"{name} {some[-1].rate:,.0f}" for name, some in found.items())
        bench.say(f"  run {turn + 1}: {', '.join(rates)} transactions/s")
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
    """The same with 8 clients and no flush, so the processors are the limit: capture alone, with a
    daemon, and with a trigger that inserts one row of constants into a table like the queue, which
    no capture into a queue can beat. Then how processor time is shared."""
    server = bench.server()
    seconds = max(2, round(bench.size.time(8)))
    with ExitStack() as stack:
        some = Writers(bench, server, stack, 8, seconds)
        found = _in_turns(
            bench, [some.bare, some.silent, some.delivering, some.notify, some.constant]
        )
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
        figure("... with a row trigger that inserts constants", "constant", None),
        Figure(
            "writers",
            "capture alone, compared with that",
            "/s",
            [run.rate for run in found["silent"]],
            [run.rate for run in found["constant"]],
            CONSTANT,
        ),
        *_shares(found, some.delivery),
    ]


def _shares(
    found: dict[str, list[Throughput]], delivery: list[tuple[float, float]]
) -> list[Figure]:
    """Where processor time goes: what a change costs the writers' backends, and what is left to
    writers while a daemon delivers. None where the server is not ours."""
    bare = _a_change(found["bare"])
    if not bare:
        return []
    ways = {
        "a row trigger that inserts constants": "constant",
        "capture alone": "silent",
        "with a daemon delivering": "delivering",
    }
    made = [
        Figure(
            "writers",
            f"CPU of the writers' backends, a change: {what}",
            "us",
            _a_change(found[way]),
            bare,
            BARE,
        )
        for what, way in ways.items()
    ]
    parts = [
        {
            "clients": run.shares.clients,
            "writers": run.shares.writers,
            "daemon": daemon,
            "sessions": run.shares.sessions,
            "receiver": receiver,
            "background": run.shares.background,
        }
        for run, (daemon, receiver) in zip(found["delivering"], delivery, strict=True)
        if run.shares is not None
    ]
    of_writers = ("clients", "writers")
    made.append(
        Figure(
            "writers",
            "processor time that writers and their backends get meanwhile",
            "%",
            [100 * sum(one[p] for p in of_writers) / sum(one.values()) for one in parts],
            more={
                "percent": {
                    part: round(median(100 * one[part] / sum(one.values()) for one in parts), 1)
                    for part in parts[0]
                }
            },
        )
    )
    return made


def _a_change(runs: list[Throughput]) -> list[float]:
    return [run.shares.writers / run.done * 1e6 for run in runs if run.shares is not None]
