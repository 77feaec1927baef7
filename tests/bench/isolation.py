"""One bad endpoint out of many does not move the others' latency: 50 endpoints under a steady load.

    python -m tests.bench.isolation [--repeats 3] [--seconds 12] [--rate 300] [--json]

Phases, repeated in turn so that a machine that drifts decides nothing: all answer at once; one of
50 hangs for 5 s with a fifth of the load going to it; ten hang for 5 s; the same two with 30 s,
longer than an attempt may take. Measured are the healthy ones, from just before COMMIT to the
receipt of the request.

Each phase has endpoints, breakers and backlog of its own: what hung in one phase is removed before
the next. The daemon has its default settings.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psycopg
import uvloop
from rich.console import Console
from rich.table import Table

from cdc.message.signing_keys import new_secret
from cdc.sandbox.account import percentile
from cdc.sandbox.embedded import EmbeddedPostgres
from cdc.sandbox.records import Arrival
from tests.bench.kit import arguments
from tests.daemon.running import Process
from tests.faults import records
from tests.faults.peer import Peer
from tests.support import installation

ENDPOINTS = 50
SHARE = 0.2  # of the load that goes to those that hang
QUICK = (0.001, 0.003)
ARRIVED_WITHIN = 10.0
AIM_RATIO, AIM_P99 = 1.3, 10.0


@dataclass(frozen=True, slots=True)
class Phase:
    """hanging: how many endpoints hang.  seconds: for how long each request."""

    name: str
    hanging: int
    seconds: float


PHASES = (
    Phase("all answer at once", 0, 0),
    Phase("1 of 50 hangs 5 s", 1, 5),
    Phase("10 of 50 hang 5 s", 10, 5),
    Phase("1 of 50 hangs 30 s", 1, 30),
    Phase("10 of 50 hang 30 s", 10, 30),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """Latency of the healthy endpoints in one turn of a phase, milliseconds."""

    deliveries: int
    missing: int
    p50: float
    p99: float


class Bench:
    """One company for each endpoint, with one row and one webhook: each change is one delivery."""

    def __init__(self, url: str, peer: Peer, rate: float, seconds: float, seed: int) -> None:
        self.url = url
        self.peer = peer
        self.rate = rate
        self.seconds = seconds
        self.chance = random.Random(seed)
        self.secrets: dict[int, str] = {}
        self.wall = time.time() - time.monotonic()
        self._turn = 0

    async def phase(self, phase: Phase) -> Measured:
        """One turn: new companies and webhooks, the load, the figures."""
        first = self._turn * ENDPOINTS
        self._turn += 1
        numbers = range(first, first + ENDPOINTS)
        hanging, healthy = numbers[: phase.hanging], numbers[phase.hanging :]
        await self.peer.delay(healthy, *QUICK)
        await self.peer.delay(hanging, phase.seconds, phase.seconds)
        async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as conn:
            await self._register(conn, numbers)
            # Connections and lanes are made in the first seconds.
            before = await self._load(conn, hanging, healthy, seconds=2.0)
            began = await self._load(conn, hanging, healthy, seconds=self.seconds)
            await self._arrived(
                {number: len(before[number]) + len(began[number]) for number in healthy}
            )
            await conn.execute(
                "update cdc.webhook set state = 'removed' where endpoint = any(%s)",
                ([self.peer.url(number) for number in numbers],),
            )
            await conn.execute("delete from cdc.subscription")
        await self.peer.flush()
        return self._measure({number: began[number] for number in healthy})

    async def _arrived(self, owed: dict[int, int]) -> None:
        """Waits for what was measured, for so long; what is missing then is reported."""
        deadline = time.monotonic() + ARRIVED_WITHIN
        while time.monotonic() < deadline:
            taken = self.peer.counts.deliveries
            if all(taken[number] >= many for number, many in owed.items()):
                break
            await asyncio.sleep(0.05)

    async def _register(
        self, conn: psycopg.AsyncConnection[tuple[object, ...]], numbers: range
    ) -> None:
        for number in numbers:
            company = number + 1
            self.secrets[number] = new_secret()
            async with conn.transaction():
                await conn.execute("insert into company (id) values (%s)", (company,))
                await conn.execute(
                    "insert into project (id, company_id) select %s * 1000 + n, %s"
                    " from generate_series(1, 200) n",
                    (company, company),
                )
                cursor = await conn.execute(
                    "insert into cdc.webhook (company, endpoint) values (%s, %s) returning id",
                    (str(company), self.peer.url(number)),
                )
                row = await cursor.fetchone()
                assert row is not None
                await conn.execute(
                    "insert into cdc.webhook_secret (webhook_id, secret) values (%s, %s)",
                    (row[0], self.secrets[number]),
                )
                await conn.execute(
                    "insert into cdc.subscription values (%s, 'project_changed', %s)",
                    (str(company), row[0]),
                )

    async def _load(
        self,
        conn: psycopg.AsyncConnection[tuple[object, ...]],
        hanging: range,
        healthy: range,
        seconds: float,
    ) -> dict[int, dict[int, float]]:
        """Changes at the given rate. Returns, by webhook, when each was about to be committed, by
        the moment (microseconds) in which it was written."""
        began: dict[int, dict[int, float]] = {number: {} for number in (*hanging, *healthy)}
        start = time.monotonic()
        for turn in range(int(seconds * self.rate)):
            if (wait := start + turn / self.rate - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            # Healthy ones get the same load in each phase; where none hangs, the rest of it, too:
            # above 300 changes a second a daemon polls, and is not rung for.
            number = self.chance.choice(healthy)
            await self._change(conn, number, began)
            if self.chance.random() < SHARE / (1 - SHARE):
                await self._change(conn, self.chance.choice(hanging or healthy), began)
        return began

    async def _change(
        self,
        conn: psycopg.AsyncConnection[tuple[object, ...]],
        number: int,
        began: dict[int, dict[int, float]],
    ) -> None:
        row = (number + 1) * 1000 + self.chance.randint(1, 200)
        sent = time.monotonic()
        await conn.execute("update project set name = 'x' where id = %s", (row,))
        began[number][time.time_ns() // 1000] = sent

    def _measure(self, began: dict[int, dict[int, float]]) -> Measured:
        waits: list[float] = []
        missing = 0
        came: dict[int, list[Arrival]] = {number: [] for number in began}
        for request in records.read(self.peer.file, self.secrets, self.wall):
            if request.webhook in came:
                came[request.webhook].append(request)
        for number, times in began.items():
            # Written one after the other by one writer: the body's time identifies it.
            line = sorted(came[number], key=lambda request: request.time)
            line.reverse()
            for until, sent in sorted(times.items()):
                while line and line[-1].time < (sent + self.wall) * 1e6 - 1000:
                    line.pop()
                if line and line[-1].time <= until + 1000:
                    waits.append((line.pop().received - sent) * 1000)
                else:
                    missing += 1
        return Measured(len(waits), missing, *(percentile(sorted(waits), s) for s in (0.5, 0.99)))


async def measure(args: argparse.Namespace, seed: int) -> dict[str, list[Measured]]:
    status = Console(stderr=True)
    turns = args.repeats * len(PHASES)
    found: dict[str, list[Measured]] = {phase.name: [] for phase in PHASES}
    with (
        tempfile.TemporaryDirectory(prefix="cdc-isolation-") as folder,
        EmbeddedPostgres(settings={"max_connections": "50"}) as server,
    ):
        url = server.url()
        installation.prepare_template(url)
        async with (
            Peer(Path(folder), turns * ENDPOINTS, seed=seed) as peer,
            Process(url) as daemon,
        ):
            await daemon.until("connected", limit=30)
            bench = Bench(url, peer, args.rate, args.seconds, seed)
            for repeat in range(args.repeats):
                # Forwards, then backwards: no phase is always the one after the worst.
                order = PHASES if repeat % 2 == 0 else PHASES[::-1]
                for phase in order:
                    measured = await bench.phase(phase)
                    found[phase.name].append(measured)
                    status.print(
                        f"{repeat + 1} of {args.repeats}: {phase.name}: p50 {measured.p50:.1f} ms,"
                        f" p99 {measured.p99:.1f} ms, {measured.deliveries} deliveries,"
                        f" {measured.missing} missing",
                        highlight=False,
                    )
    return found


def figures(found: dict[str, list[Measured]]) -> dict[str, dict[str, float]]:
    """Medians over the repetitions, and the ratio to the first phase."""
    base = median(turn.p99 for turn in found[PHASES[0].name])
    return {
        name: {
            "deliveries": sum(turn.deliveries for turn in turns),
            "missing": sum(turn.missing for turn in turns),
            "p50_ms": round(median(turn.p50 for turn in turns), 2),
            "p99_ms": round(median(turn.p99 for turn in turns), 2),
            "p99_worst_ms": round(max(turn.p99 for turn in turns), 2),
            "ratio": round(median(turn.p99 for turn in turns) / base, 2),
        }
        for name, turns in found.items()
    }


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8, help="of each phase, each time")
    parser.add_argument("--rate", type=float, default=300, help="deliveries/s to healthy ones")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        rows = figures(runner.run(measure(args, args.seed)))
    if args.json:
        print(json.dumps({"aim": {"ratio": AIM_RATIO, "p99_ms": AIM_P99}, "phases": rows}))
    else:
        table = Table(title=f"healthy endpoints, {args.rate:g} deliveries/s, {args.repeats} turns")
        table.add_column("phase")
        for column in next(iter(rows.values())):
            table.add_column(column.replace("_", " "), justify="right")
        for name, row in rows.items():
            table.add_row(name, *(f"{value:g}" for value in row.values()))
        Console(width=120).print(table)
    return 1 if any(row["missing"] for row in rows.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
