"""Live changes with something beside them: a backfill, or reads of the list of deliveries."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psycopg

from cdc.mapping import default_mapping
from cdc.postgres import connections
from cdc.sandbox.account import percentile
from cdc.sandbox.process import ProcessFailed
from cdc.web import keys
from cdc.web.keys import Scope
from cdc.webhooks import backfills
from cdc.webhooks.audit import Actor
from tests.bench import pages
from tests.bench.account import summed
from tests.bench.bench import Bench
from tests.bench.child import Child
from tests.bench.figures import Bound, Figure, milliseconds
from tests.bench.load.reader import RECORD, ReadPlan
from tests.bench.place import Database
from tests.bench.work import live
from tests.web.kit import Served, account, serving

RATE = 200
SECONDS = 10.0
COMPANIES = 100
CANDIDATES = 1_000_000
READS = 100
NICENESS = 3
"""Of `cdc serve`: the share of a processor that its unit and the compose file give it."""
LOGGED = 1_000_000
NOT_SLOWER = Bound(1.3, 1.0, better="less")
ENDED_WITHIN_S = 120.0
ME = Actor("bench")


def backfill(bench: Bench) -> list[Figure]:
    """200 changes/s with and without a backfill of 10,000 of 1,000,000 candidates."""
    candidates = bench.size.count(CANDIDATES)
    seconds = bench.size.time(SECONDS)
    alone: list[live.Lived] = []
    beside: list[live.Lived] = []
    whole: list[float] = []
    with bench.server().database("captured", COMPANIES, candidates) as database:
        for run in range(bench.size.runs):
            for runs in (alone, beside) if run % 2 == 0 else (beside, alone):
                database.empty()
                database.register(bench.target.base())
                with bench.daemon(database) as daemon:
                    if runs is alone:
                        alone.append(live.load(bench, database, RATE, seconds, consumer=daemon))
                        continue
                    with _backfilling(bench, database, daemon) as number:
                        beside.append(live.load(bench, database, RATE, seconds, consumer=daemon))
                        if not _ended(database, number):
                            whole.append(_until_ended(database, number, daemon))
            bench.say(
                f"  alone {live.latency_line(alone[-1])}; beside {live.latency_line(beside[-1])}"
            )
    rows = candidates // COMPANIES
    figures = _pair("backfill", f"a backfill of {rows:,} of {candidates:,} rows", alone, beside)
    if whole:
        figures.append(
            Figure(
                "backfill",
                f"all of a backfill of {rows:,} of {candidates:,} rows, beside that",
                "s",
                whole,
                bound=Bound(ENDED_WITHIN_S, of_baseline=False, better="less"),
            )
        )
    return figures


@contextmanager
def _backfilling(bench: Bench, database: Database, daemon: Child) -> Iterator[int]:
    """To a webhook of its own, whose requests are not those that are measured."""
    hook, company = COMPANIES + 1, str(COMPANIES)
    with psycopg.connect(database.url) as conn:
        conn.execute(
            "insert into cdc.webhook (id, company, endpoint) values (%s, %s, %s)",
            (hook, company, bench.target.url(hook)),
        )
        conn.execute(
            "insert into cdc.webhook_secret (webhook_id, secret)"
            " select %s, secret from cdc.webhook_secret limit 1",
            (hook,),
        )
        conn.execute(
            "insert into cdc.subscription (company, event, webhook_id)"
            " values (%s, 'candidate_changed', %s)",
            (company, hook),
        )
    with connections.engine(database.url).begin() as conn_:
        made = backfills.start(conn_, ME, default_mapping(), hook, "candidate_changed", "modified")
    deadline = time.monotonic() + live.STRAGGLERS
    while not database.ask("select looked from cdc.backfill where id = %s", made.id):
        daemon.check()
        if time.monotonic() > deadline:
            raise ProcessFailed("the backfill does not begin")
        time.sleep(0.02)
    yield made.id


def _ended(database: Database, number: int) -> bool:
    return bool(database.ask("select state <> 'running' from cdc.backfill where id = %s", number))


def _until_ended(database: Database, number: int, daemon: Child) -> float:
    """Seconds that it took, with what was measured meanwhile."""
    deadline = time.monotonic() + ENDED_WITHIN_S
    while not _ended(database, number):
        daemon.check()
        if time.monotonic() > deadline:
            raise ProcessFailed("the backfill does not end")
        time.sleep(0.05)
    return float(
        database.ask(
            "select extract(epoch from ended_at - created_at)::float8 from cdc.backfill"
            " where id = %s and state = 'done'",
            number,
        )
    )


def reads(bench: Bench) -> list[Figure]:
    """100 reads/s of the list beside a daemon that delivers 200/s; latency of both. The same reads
    beside (b)."""
    seconds = bench.size.time(SECONDS)
    alone: list[live.Lived] = []
    beside: list[live.Lived] = []
    plain_alone: list[live.Lived] = []
    plain_beside: list[live.Lived] = []
    found: list[Reads] = []
    server = bench.server()
    rows = live.rows(RATE, bench.size.warm_up + seconds)
    with (
        server.database("captured", live.HOOKS, rows) as database,
        server.database("notify", live.HOOKS, rows) as notify,
        server.session() as admin,
        account(admin, database.url) as address,
        serving(address, database.url) as served,
    ):
        database.register(bench.target.base())
        _log(database, bench.size.count(LOGGED))
        _give_way(served)
        plan = _plan(served, bench.size.warm_up + seconds)
        for run in range(bench.size.runs):
            for busy in (False, True) if run % 2 == 0 else (True, False):
                database.run("truncate cdc.queue, cdc.retry, cdc.dead, cdc.lane")
                with bench.daemon(database) as daemon, _reading(bench, served, plan, busy) as ours:
                    lived = live.load(bench, database, RATE, seconds, consumer=daemon)
                (beside if busy else alone).append(lived)
                found += ours
                with (
                    live.listening(bench, notify, live.FEW_CONNECTIONS) as child,
                    _reading(bench, served, plan, busy),
                ):
                    lived = live.load(bench, notify, RATE, seconds, consumer=child)
                (plain_beside if busy else plain_alone).append(lived)
            cost = found[-1].cost
            bench.say(
                f"  alone {live.latency_line(alone[-1])}; beside {live.latency_line(beside[-1])};"
                f" (b) {live.latency_line(plain_alone[-1])}; {live.latency_line(plain_beside[-1])};"
                f" reads p50 {percentile(found[-1].times, 0.5):.1f} ms,"
                f" p99 {percentile(found[-1].times, 0.99):.1f} ms; a read is {cost.serve:.1f} ms of"
                f" serve, {cost.postgres:.1f} of PostgreSQL, {cost.client:.1f} of the client"
            )
    return (
        [
            Figure(
                "reads",
                f"{READS} reads/s of the list, from when they are due, {name}",
                "ms",
                [percentile(one.times, share) for one in found],
                bound=bound,
            )
            for name, share, bound in (
                ("p50", 0.5, None),
                ("p99", 0.99, Bound(50, of_baseline=False, better="less")),
            )
        ]
        + [
            Figure("reads", f"processor time of a read, {name}", "ms", values)
            for name, values in (
                ("serve", [one.cost.serve for one in found]),
                ("its sessions in PostgreSQL", [one.cost.postgres for one in found]),
                ("the client that reads", [one.cost.client for one in found]),
            )
        ]
        + _pair("reads", f"{READS} reads/s of the list", alone, beside)
        + _pair("reads", "the same reads, (b) delivers", plain_alone, plain_beside, plain=True)
    )


@contextmanager
def _reading(bench: Bench, served: Served, plan: ReadPlan, busy: bool) -> Iterator[list[Reads]]:
    """Reads while the block lasts, if they are wanted; what came of them is known at its end."""
    found: list[Reads] = []
    if not busy:
        yield found
        return
    with bench.child("reader", plan) as reader:
        reader.answer()
        reader.send(b"go")
        before = pages.cpu(served)
        yield found
        client, *times = (one for (one,) in RECORD.iter_unpack(reader.result()))
        cost = ReadCost.of(before, pages.cpu(served), client, len(times))
        found.append(Reads(milliseconds(times), cost))


def _give_way(served: Served) -> None:
    """All its threads, and so those that they start."""
    for thread in Path(f"/proc/{served.process.pid}/task").iterdir():
        os.setpriority(os.PRIO_PROCESS, int(thread.name), NICENESS)


class ReadCost(NamedTuple):
    """Milliseconds of processor time of a read, everything that serve does meanwhile included.

    Said with the latencies, because all of it shares the cores with what is measured; the client
    that reads is not on the machine in production.
    """

    serve: float
    postgres: float
    client: float

    @classmethod
    def of(
        cls, before: tuple[float, float], after: tuple[float, float], client_ns: int, reads: int
    ) -> ReadCost:
        """before, after: of PostgreSQL's sessions and of serve (``pages.cpu``)."""
        postgres, serve = (end - begin for begin, end in zip(before, after, strict=True))
        return cls(serve / reads, postgres / reads, client_ns / 1e6 / reads)


class Reads(NamedTuple):
    """Milliseconds that each read took, and what one cost."""

    times: list[float]
    cost: ReadCost


def _log(database: Database, rows: int) -> None:
    """Deliveries of the days before."""
    asked = {"rows": rows, "webhooks": live.HOOKS, "first": 1, "last": rows}
    layout = "(select max(id) from cdc.layout where event = 'candidate_changed')"
    database.run(pages.LOG.format(layout=layout, **asked))
    database.run("vacuum analyze cdc.attempt")


def _plan(served: Served, seconds: float) -> ReadPlan:
    engine = connections.engine(served.database)
    with engine.begin() as conn:
        key = keys.create(conn, ME, Scope.parse("read"))[1]
    paths = [f"v1/webhooks/{number}/deliveries?limit=50" for number in range(1, live.HOOKS + 1)]
    return ReadPlan(served.url, key, paths, READS, seconds)


def _pair(
    workload: str,
    what: str,
    alone: list[live.Lived],
    beside: list[live.Lived],
    *,
    plain: bool = False,
) -> list[Figure]:
    """plain: (b) delivered, which has nothing to reach, and may lose some."""
    return [
        Figure(
            workload,
            f"{RATE} changes/s beside {what}, {name}",
            "ms",
            [run.account.latency(share) for run in beside],
            [run.account.latency(share) for run in alone],
            "without it",
            None if plain else bound,
            **summed(run.account for run in (*beside, *alone) if name == "p50" and not plain),
        )
        for name, share, bound in (("p50", 0.5, None), ("p99", 0.99, NOT_SLOWER))
    ]
