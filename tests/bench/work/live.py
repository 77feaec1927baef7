"""Live: from a COMMIT in the suite to the last byte of the POST, under a load that is kept up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from cdc.sandbox.account import percentile
from cdc.sandbox.process import ProcessFailed
from tests.bench.account import Account, match, summed
from tests.bench.bench import Bench
from tests.bench.child import Child
from tests.bench.daemon import Daemon
from tests.bench.figures import Bound, Figure, by_second
from tests.bench.load import writer
from tests.bench.place import Database

HOOKS = 50
SESSIONS = 16
MOST = 20_000  # changes a second that no run exceeds
STRAGGLERS = 20.0  # seconds that what is missing may take in the end
CONNECTIONS = (16, 64, 256)
FEW_CONNECTIONS = 16  # of baseline (b), where no best number is looked for
SWEPT_AT, SWEEP = 1000, 1.0  # changes a second, and for how many, to find the best of them
LONG = 20
LOADS: tuple[tuple[int, float, dict[str, Bound]], ...] = (
    (20, 10, {}),
    (
        200,
        10,
        {
            "p50": Bound(3, 2, better="less"),
            "p99": Bound(4, 2, better="less"),
            "cpu": Bound(1.5, 1.2, better="less"),
        },
    ),
    (1000, 10, {"p99": Bound(6, 2, of_baseline=False, better="less")}),
    (4000, 30, {"p99": Bound(50, 15, of_baseline=False, better="less")}),
)
"""Changes a second, for how many seconds, and what percentiles have to reach, and CPU a change."""
SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999, "max": 1.0}


class Lived(NamedTuple):
    """account: what came.  written: changes a second, while they were written.

    over_time: receipts a second, second by second, from when they count.
    cpu: microseconds a change of what delivers, and of the server with its writers; None: unknown.
    span: from when they count to the last of them, monotonic seconds.
    """

    account: Account
    written: float
    over_time: list[float]
    cpu: tuple[float, float] | None = None
    span: tuple[float, float] = (0.0, 0.0)


def load(
    bench: Bench,
    database: Database,
    rate: float,
    seconds: float,
    *,
    warm_up: float | None = None,
    sessions: int = SESSIONS,
    consumer: Child | None = None,
) -> Lived:
    """Writes so many changes a second, and waits for what they owe. A daemon delivers meanwhile.

    rate:    0 for as many as come about.
    warm_up: seconds of the same load before it counts; None for what is usual.
    consumer: what delivers, if its CPU is of interest.
    """
    warm_up = bench.size.warm_up if warm_up is None else warm_up
    keys = rows(rate, warm_up + seconds)
    bench.target.clear()
    before = _cpu(bench, consumer)
    written = bench.write(writer.Plan(database.url, rate, warm_up + seconds, sessions, 1, keys))
    bench.target.wait_for(len(written), STRAGGLERS, lambda: None)
    if isinstance(consumer, Daemon):
        consumer.settled(STRAGGLERS)
    after = _cpu(bench, consumer)
    # What other webhooks got beside these does not count.
    receipts = [one for one in bench.target.receipts() if one.hook <= database.hooks]
    since = min((change.due for change in written), default=0) + round(warm_up * 1e9)
    counted = [change for change in written if change.done >= since]
    if not counted:
        raise ProcessFailed("the writers got nothing done")
    until = max(change.done for change in counted)
    return Lived(
        match(written, receipts, database.hooks, since),
        len(counted) / (until - since) * 1e9,
        by_second([receipt.at for receipt in receipts], since),
        None
        if before is None or after is None
        else (
            (after[0] - before[0]) / len(written) * 1e6,
            (after[1] - before[1]) / len(written) * 1e6,
        ),
        (since / 1e9, until / 1e9),
    )


def _cpu(bench: Bench, consumer: Child | None) -> tuple[float, float] | None:
    server = bench.server().cpu()
    return None if consumer is None or server is None else (consumer.cpu(), server)


def rows(rate: float, seconds: float) -> int:
    """Rows that such a load takes: each is changed once."""
    return round((rate or MOST) * seconds) + 1


@contextmanager
def listening(bench: Bench, database: Database, connections: int) -> Iterator[Child]:
    """Baseline (b) delivers while the block lasts."""
    plan = {"url": database.url, "base": bench.target.base(), "connections": connections}
    with bench.child("plain", plan) as child:
        child.answer()
        yield child


def best_for_plain(bench: Bench, database: Database) -> int:
    """The number of connections with which baseline (b) is quickest."""
    if "plain" not in bench.best:
        found = {}
        for connections in CONNECTIONS:
            with listening(bench, database, connections):
                found[connections] = load(bench, database, SWEPT_AT, SWEEP).account.latency(0.99)
        bench.best["plain"] = min(found, key=lambda connections: found[connections])
        bench.say(f"  (b) LISTEN and aiohttp: best with {bench.best['plain']} connections")
    return bench.best["plain"]


def pair(
    bench: Bench,
    rate: float,
    seconds: float,
    runs: int,
) -> tuple[list[Lived], list[Lived]]:
    """Ours and baseline (b), in turns."""
    ours, plain = [], []
    server = bench.server()
    candidates = max(
        rows(rate, bench.size.warm_up + seconds), rows(SWEPT_AT, bench.size.warm_up + SWEEP)
    )
    with (
        server.database("captured", HOOKS, candidates) as captured,
        server.database("notify", HOOKS, candidates) as notify,
    ):
        captured.register(bench.target.base())
        connections = best_for_plain(bench, notify)
        for run in range(runs):
            with listening(bench, notify, connections) as child:
                child.calm()
                plain.append(load(bench, notify, rate, seconds, consumer=child))
            captured.empty()
            with bench.daemon(captured) as daemon:
                daemon.calm()
                ours.append(load(bench, captured, rate, seconds, consumer=daemon))
            bench.say(f"  run {run + 1}: {latency_line(ours[-1])}; (b) {latency_line(plain[-1])}")
    return ours, plain


def latency_line(lived: Lived) -> str:
    account = lived.account
    return (
        f"p50 {account.latency(0.5):.2f} ms, p99 {account.latency(0.99):.2f} ms"
        f" at {lived.written:,.0f}/s"
    )


def live(bench: Bench) -> list[Figure]:
    """Changes at a fixed rate by 16 sessions, an open loop, after a second of the same load. (b)
    runs in a database of its own, in turns."""
    figures = []
    for rate, full, bounds in LOADS:
        seconds = bench.size.time(full)
        bench.say(f"  {rate:,}/s for {seconds:g} s")
        # A third of a minute or more is long enough to be taken once.
        ours, plain = pair(bench, rate, seconds, bench.size.runs if full < LONG else 1)
        figures += _figures(rate, seconds, ours, plain, bounds)
    return figures


def _figures(
    rate: float,
    seconds: float,
    ours: list[Lived],
    plain: list[Lived],
    bounds: Mapping[str, Bound],
) -> list[Figure]:
    made = []
    for name in ("p50", "p99"):
        share = SHARES[name]
        made.append(
            Figure(
                "live",
                f"{rate:,} changes/s for {seconds:g} s, COMMIT to receipt, {name}",
                "ms",
                [run.account.latency(share) for run in ours],
                [run.account.latency(share) for run in plain],
                "(b) LISTEN and one POST a message",
                bounds.get(name),
                **summed(run.account for run in ours if name == "p50"),
                note="" if _kept_up(ours, rate) else "the writers did not keep up",
                more={
                    "rate": rate,
                    "percentiles": _percentiles(ours),
                    "baseline_percentiles": _percentiles(plain),
                    "from_sent_ms": [
                        round(percentile(run.account.from_sent, share), 3)
                        for run in ours
                        if run.account.from_sent
                    ],
                    "written_per_second": [round(run.written, 1) for run in ours],
                    "baseline_lost": sum(run.account.lost for run in plain),
                    "over_time": ours[-1].over_time,
                    "over_time_step_s": 1.0,
                },
            )
        )
    cpu = [sum(run.cpu) for run in ours if run.cpu is not None]
    if cpu:
        made.append(
            Figure(
                "live",
                f"{rate:,} changes/s, CPU a change, of what delivers and of the server",
                "us",
                cpu,
                [sum(run.cpu) for run in plain if run.cpu is not None],
                "(b) LISTEN and one POST a message",
                bounds.get("cpu"),
                more={
                    "rate": rate,
                    "consumer_and_server_us": [run.cpu for run in ours],
                    "baseline_consumer_and_server_us": [run.cpu for run in plain],
                },
            )
        )
    return made


def _kept_up(runs: list[Lived], rate: float) -> bool:
    return all(run.written > 0.98 * rate for run in runs)


def _percentiles(runs: list[Lived]) -> dict[str, list[float]]:
    return {
        name: [round(run.account.latency(share), 3) for run in runs]
        for name, share in SHARES.items()
    }
