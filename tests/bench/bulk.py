"""Three interleaved bulk updates of the same rows of one company, some deliveries failing at first.

    python -m tests.bench.bulk [--rows 100000] [--webhooks 1] [--fail 0.01] [--json]

The daemon is a process of its own, its peak memory is read from the system. What must arrive, and
in which order, comes from a ledger that the writers keep; exit 0 only if all of it did, in order.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg

from cdc.message.signing_keys import new_secret
from cdc.sandbox.account import account
from cdc.sandbox.embedded import EmbeddedPostgres
from cdc.sandbox.process import bare_environment
from cdc.sandbox.protocol import said
from cdc.sandbox.receiver import Received, Receiver, Reply, Script
from cdc.sandbox.records import Arrival, Change, Hook
from tests.bench.kit import arguments
from tests.support import installation

CHUNK = 5_000
EVENT = "candidate_changed"


class Refuser:
    """Some requests are refused when their delivery comes first, never twice; all are kept."""

    def __init__(self, fail: float) -> None:
        self.fail = fail
        self.came: list[Received] = []
        self.failed: set[str] = set()
        self.taken: set[tuple[str, str]] = set()
        self._random = random.Random(1)

    def answer(self, received: Received) -> Reply:
        uid, known = received.uid, (received.path, received.uid) in self.taken
        if not known and uid not in self.failed and self._random.random() < self.fail:
            self.failed.add(uid)
            return Reply(500)
        return Reply(204)

    def take(self, received: Received) -> None:
        self.came.append(received)
        if received.status is not None and received.status < 300:
            self.taken.add((received.path, received.uid))

    def arrivals(self) -> Iterator[Arrival]:
        for got in self.came:
            ends = (got.clock, got.clock, got.status or 0)
            problem = "" if got.verified else str(got.problem)
            digest = hash(got.body)
            yield Arrival(
                int(got.path[1:]), got.uid, *said(got.body), *ends, problem, digest=digest
            )


async def update(url: str, rows: int, seed: int, ledger: list[Change]) -> None:
    """One bulk update, in pieces and in an order of its own."""
    starts = list(range(1, rows + 1, CHUNK))
    random.Random(seed).shuffle(starts)
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as conn:
        for start in starts:
            sent = time.perf_counter()
            # The rows stay locked until the end: no other update writes one after this moment.
            cursor = await conn.execute(
                "update candidate set name = %s where id between %s and %s"
                " returning id::text, (extract(epoch from clock_timestamp()) * 1e6)::bigint",
                (str(seed), start, min(rows, start + CHUNK - 1)),
            )
            # Reached only after COMMIT.
            until = time.time_ns() // 1000 + 1
            ledger += [
                Change("1", EVENT, key, "modified", seed, since, until, sent, True)
                for key, since in await cursor.fetchall()
            ]


def start_daemon(url: str, log: Path) -> subprocess.Popen[bytes]:
    environment = bare_environment()
    environment |= {
        "CDC_DATABASE_URL": url,
        "CDC_ALLOW_HTTP": "true",
        "CDC_ALLOWED_NETWORKS": "127.0.0.0/8",
        "CDC_RETRY_SCHEDULE": "0.5,1,1,1,1",
    }
    with log.open("wb") as out:
        return subprocess.Popen([sys.executable, "-m", "cdc", "run"], env=environment, stderr=out)


def peak_memory(pid: int) -> int:
    """Peak resident memory in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise LookupError("no VmHWM")


async def run(args: argparse.Namespace) -> dict[str, Any]:
    refuser = Refuser(args.fail)
    receiver = Receiver(on_answered=refuser.take, keep=False)
    receiver.script(None, Script(answer=refuser.answer))
    await receiver.start()
    with EmbeddedPostgres() as postgres:
        url = postgres.url()
        installation.prepare_template(url)
        with psycopg.connect(url, autocommit=True) as conn:
            conn.execute("insert into company (id) values (1)")
            conn.execute("insert into project (id, company_id) values (1, 1)")
            conn.execute(
                "insert into candidate (id, project_id) select g, 1 from generate_series(1, %s) g",
                (args.rows,),
            )
            register(conn, receiver, args.webhooks)
        log = Path(postgres.log_path).parent / "daemon.log"
        daemon = start_daemon(url, log)
        try:
            return await measure(args, url, refuser, daemon)
        finally:
            daemon.terminate()
            daemon.wait(20)
            if args.log:
                print(log.read_text(errors="replace")[-3000:], file=sys.stderr)
            await receiver.stop()


def register(conn: psycopg.Connection[Any], receiver: Receiver, webhooks: int) -> None:
    for number in range(webhooks):
        secret = new_secret()
        receiver.expect(f"/{number}", secret)
        row = conn.execute(
            "insert into cdc.webhook (company, endpoint) values ('1', %s) returning id",
            (receiver.url(f"/{number}"),),
        ).fetchone()
        assert row is not None
        conn.execute("insert into cdc.webhook_secret values (%s, %s)", (row[0], secret))
        conn.execute("insert into cdc.subscription values ('1', 'candidate_changed', %s)", row)


async def measure(
    args: argparse.Namespace, url: str, refuser: Refuser, daemon: subprocess.Popen[bytes]
) -> dict[str, Any]:
    ledger: list[Change] = []
    started = time.monotonic()
    await asyncio.gather(*(update(url, args.rows, seed, ledger) for seed in range(3)))
    written = time.monotonic() - started
    expected = len(ledger) * args.webhooks
    deadline = started + args.limit
    while len(refuser.taken) < expected and time.monotonic() < deadline:
        if daemon.poll() is not None:
            raise SystemExit("the daemon has ended")
        await asyncio.sleep(0.2)
        if not args.json:
            print(f"\r{len(refuser.taken):>9,} of {expected:,}", end="", file=sys.stderr)
    took = time.monotonic() - started
    hooks = [Hook(number, "1", frozenset({EVENT})) for number in range(args.webhooks)]
    held = account(ledger, refuser.arrivals(), hooks)
    return {
        "expected": held.owed,
        "received": held.delivered,
        "violations": held.counts,
        "failed_at_first": len(refuser.failed),
        "seconds_writing": round(written, 1),
        "seconds": round(took, 1),
        "per_second": round(held.delivered / took),
        "daemon_peak_mb": round(peak_memory(daemon.pid) / 1e6),
        "at": datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--webhooks", type=int, default=1)
    parser.add_argument("--fail", type=float, default=0.01, help="share that fails at first")
    parser.add_argument("--limit", type=float, default=900, help="seconds")
    parser.add_argument("--log", action="store_true", help="print the daemon's log at the end")
    args = parser.parse_args()
    result = asyncio.run(run(args))
    print(json.dumps(result) if args.json else "\n" + json.dumps(result, indent=2))
    return 1 if result["violations"] or result["received"] < result["expected"] else 0


if __name__ == "__main__":
    sys.exit(main())
