"""What must not matter: a long backlog, a snapshot held open, many registrations."""

from __future__ import annotations

from statistics import median

import psycopg

from cdc.sandbox.process import ProcessFailed
from tests.bench.account import summed, tally
from tests.bench.bench import Bench
from tests.bench.figures import Bound, Figure, rate
from tests.bench.work import live
from tests.bench.work.drain import WITHIN, drained

HOOKS = 50
SMALL, LARGE = 10_000, 1_000_000
SUSTAINED = 100_000
AT_ONCE = 100_000  # rows that one statement queues
PASSING, ROUND = 500_000, 50_000
ACTIVE, REGISTERED = 200, 10_000


def backlog(bench: Bench) -> list[Figure]:
    """1,000,000 deliveries are queued, then the daemon started: the rate of its first 10,000
    against that of 10,000 alone, and its peak memory."""
    large, small = bench.size.count(LARGE, 20_000), bench.size.count(SMALL, 2000)
    sustained = min(SUSTAINED, large // 2)
    target = bench.target
    with bench.server().database("captured", HOOKS, large) as database:
        database.register(target.base())
        few = [drained(bench, database, small).rate for _ in range(bench.size.runs)]
        many, over, memory = [], [], []
        lost = repeated = 0
        for run in range(bench.size.runs):
            database.empty()
            target.clear()
            for first in range(1, large + 1, AT_ONCE):
                database.change(min(AT_ONCE, large + 1 - first), first=first)
            with bench.daemon(database) as daemon:
                if not target.wait_for(sustained, WITHIN, daemon.check):
                    raise ProcessFailed(f"{sustained:,} of them did not come within {WITHIN:.0f} s")
                memory.append(daemon.peak_memory() / 1e6)
            # It recorded what it had sent before it ended.
            receipts = target.receipts()
            missing, twice = tally(large - database.queued(), receipts)
            lost += missing
            repeated += twice
            times = [receipt.at for receipt in receipts]
            many.append(rate(times[:small]))
            over.append(rate(times[:sustained]))
            bench.say(
                f"  run {run + 1}: {many[-1]:,.0f}/s with {large:,}, {few[run]:,.0f} with {small:,}"
            )
    return [
        Figure(
            "backlog",
            f"{large:,} queued: drain rate of the first {small:,}",
            "/s",
            many,
            few,
            f"{small:,} queued",
            Bound(0.9, 1.0),
            lost=lost,
            repeated=repeated,
            more={f"rate_of_{sustained}": [round(value) for value in over]},
        ),
        Figure(
            "backlog",
            f"{large:,} queued: the daemon's memory, at most",
            "MB",
            memory,
            bound=Bound(200, 100, of_baseline=False, better="less"),
        ),
    ]


def snapshot(bench: Bench) -> list[Figure]:
    """A repeatable-read transaction stays open; ten times 50,000 rows are updated by one
    statement and delivered."""
    rounds = max(4, bench.size.count(PASSING) // ROUND)
    count = bench.size.count(PASSING) // rounds
    target = bench.target
    rates = []
    lost = repeated = 0
    with bench.server().database("captured", HOOKS, count) as database:
        database.register(target.base())
        with psycopg.connect(database.url) as holder, bench.daemon(database) as daemon:
            holder.execute("set transaction isolation level repeatable read")
            holder.execute("select count(*) from candidate")
            for _ in range(rounds):
                target.clear()
                database.change(count)
                if not target.wait_for(count, WITHIN, daemon.check):
                    raise ProcessFailed(f"{count:,} deliveries did not come within {WITHIN:.0f} s")
                if not daemon.settled(WITHIN):
                    raise ProcessFailed("settling does not come to an end")
                receipts = target.receipts()
                missing, twice = tally(count, receipts)
                lost += missing
                repeated += twice
                rates.append(rate([receipt.at for receipt in receipts]))
    bench.say("  " + ", ".join(f"{value:,.0f}" for value in rates))
    return [
        Figure(
            "snapshot",
            f"a snapshot held open while {count * rounds:,} pass: the last {2 * count:,}",
            "/s",
            rates[-2:],
            rates[:2],
            f"the first {2 * count:,}",
            Bound(0.9, 1.0),
            lost=lost,
            repeated=repeated,
            more={"by_round": [round(value) for value in rates]},
        )
    ]


def registered(bench: Bench) -> list[Figure]:
    """`live` at 1,000/s with 200 webhooks, and with 9,800 more for whose companies nothing
    changes."""
    many = bench.size.count(REGISTERED, 2 * ACTIVE)
    per_second, seconds = 1000, bench.size.time(10)
    found: dict[int, list[live.Lived]] = {ACTIVE: [], many: []}
    server = bench.server()
    with server.database(
        "captured", ACTIVE, live.rows(per_second, bench.size.warm_up + seconds)
    ) as database:
        for _ in range(bench.size.runs):
            for hooks, runs in found.items():
                database.empty()
                database.register(bench.target.base(), hooks)
                with bench.daemon(database):
                    runs.append(live.load(bench, database, per_second, seconds))
    for hooks, runs in found.items():
        p99 = median(run.account.latency(0.99) for run in runs)
        bench.say(f"  {hooks:,} registered: p99 {p99:.2f} ms")
    return [
        Figure(
            "registered",
            f"{many:,} webhooks of which {ACTIVE} are active, 1,000 changes/s, {name}",
            "ms",
            [run.account.latency(share) for run in found[many]],
            [run.account.latency(share) for run in found[ACTIVE]],
            f"{ACTIVE} webhooks",
            bound,
            **summed(run.account for run in found[many] if name == "p50"),
        )
        for name, share, bound in (
            ("p50", 0.5, None),
            ("p99", 0.99, Bound(1.3, 1.0, better="less")),
        )
    ]
