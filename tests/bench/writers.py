"""What capture costs writers while no daemon runs, against the same load without triggers.

    python -m tests.bench.writers [--seconds 8] [--repetitions 3] [--clients 16] [--json]

Single-row updates by pgbench on a durable server whose flush takes 1 ms (made by commit_delay), in
three ways that take turns within each repetition:

(a) plain:  tables without triggers
(b) silent: capture, one webhook, the doorbell is not armed
(c) killed: the same; a daemon that had armed the bell was killed (SIGKILL) a moment before

Prints transactions a second and the ratios to (a); of (c) second by second, because the bell rings
for three seconds at most. Asserts nothing: it is to be read.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from cdc.mapping import default_mapping
from cdc.sandbox.embedded import EmbeddedPostgres
from cdc.sandbox.process import bare_environment
from cdc.sandbox.suite import tables_sql
from tests.bench.kit import arguments
from tests.support import installation

ROWS = 10_000
SCRIPT = f"""
\\set id random(1, {ROWS})
update candidate set name = :id where id = :id;
"""
# A flush of 1 ms, as on a disk of a cloud: a commit waits for others to join it, even when alone.
SETTINGS = {
    "fsync": "on",
    "commit_delay": "1000",
    "commit_siblings": "0",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "1h",
    "shared_buffers": "512MB",
}
PROGRESS = re.compile(r"progress: [\d.]+ s, ([\d.]+) tps")
TOTAL = re.compile(r"tps = ([\d.]+)")
SILENT_IN = (
    "select greatest(0, last_value / 1e6 - extract(epoch from clock_timestamp()))::float8"
    "  from cdc.bell"
)


class Bench:
    """A server with two databases: ``plain`` and ``captured``."""

    def __init__(self, server: EmbeddedPostgres, script: Path, args: argparse.Namespace) -> None:
        self._server = server
        self._script = script
        self._args = args
        with psycopg.connect(server.url(), autocommit=True) as conn:
            for name in ("plain", "captured"):
                conn.execute(f"create database {name}".encode())
        installation.prepare_template(server.url("captured"))
        installation.adopt(server.url("captured"))
        self._run("plain", tables_sql(default_mapping(), "bigint"))
        for name in ("plain", "captured"):
            self._run(
                name,
                "insert into company (id) values (1);"
                "insert into project (id, company_id) values (1, 1);"
                "insert into candidate (id, project_id)"
                f" select g, 1 from generate_series(1, {ROWS}) g; analyze",
            )
        self._run(
            "captured",
            "insert into cdc.webhook (company, endpoint) values ('1', 'https://abc.com/');"
            "insert into cdc.webhook_secret (webhook_id, secret)"
            " select id, 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw' from cdc.webhook;"
            "insert into cdc.subscription select '1', 'candidate_changed', id from cdc.webhook",
        )

    def plain(self) -> dict[str, Any]:
        return self._load("plain")

    def silent(self) -> dict[str, Any]:
        self._fresh()
        self._run("captured", "select setval('cdc.bell', 1)")
        return self._load("captured")

    def killed(self) -> dict[str, Any]:
        self._fresh()
        # Nothing may be sent from here, and nothing can: the queue is empty while the daemon lives.
        environment = bare_environment()
        environment["CDC_DATABASE_URL"] = self._server.url("captured")
        daemon = subprocess.Popen(
            [sys.executable, "-m", "cdc", "run"], env=environment, stderr=subprocess.DEVNULL
        )
        try:
            deadline = time.monotonic() + 60
            # Armed again a moment ago: as long as the bell can ring at all after a kill.
            while self._silent_in() < 2.9:
                if daemon.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit("the daemon does not arm the bell")
                time.sleep(0.005)
        finally:
            daemon.kill()
            daemon.wait()
        left = self._silent_in()
        return {**self._load("captured"), "armed_for": round(left, 2)}

    def _fresh(self) -> None:
        self._run("captured", "truncate cdc.queue")

    def _silent_in(self) -> float:
        with psycopg.connect(self._server.url("captured")) as conn:
            row = conn.execute(SILENT_IN.encode()).fetchone()
            assert row is not None
            return float(row[0])

    def _run(self, name: str, sql: str) -> None:
        with psycopg.connect(self._server.url(name), autocommit=True) as conn:
            conn.execute(sql.encode())

    def _load(self, name: str) -> dict[str, Any]:
        """Runs pgbench for so many seconds; transactions a second, on the whole and one by one."""
        args = self._args
        done = subprocess.run(
            [
                *(self._server.bin_dir / "pgbench", "--no-vacuum", "--protocol=prepared"),
                *(f"--client={args.clients}", "--jobs=2", f"--time={args.seconds}"),
                *("--progress=1", f"--file={self._script}", name),
            ],
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        total = TOTAL.search(done.stdout)
        if done.returncode or total is None:
            raise SystemExit(f"pgbench failed:\n{done.stderr}")
        by_second = [round(float(tps)) for tps in PROGRESS.findall(done.stderr)]
        return {"tps": round(float(total[1])), "by_second": by_second}

    def _environment(self) -> dict[str, str]:
        parts = conninfo_to_dict(self._server.url())
        return {
            **{k: v for k, v in os.environ.items() if not k.startswith("PG")},
            "PGHOST": str(parts["host"]),
            "PGPORT": str(parts["port"]),
            "PGUSER": str(parts["user"]),
            "PGPASSWORD": str(parts["password"]),
        }


def measure(args: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, list[dict[str, Any]]] = {"plain": [], "silent": [], "killed": []}
    with TemporaryDirectory() as folder, EmbeddedPostgres(durable=True, settings=SETTINGS) as pg:
        script = Path(folder) / "update.sql"
        script.write_text(SCRIPT)
        bench = Bench(pg, script, args)
        ways = [("plain", bench.plain), ("silent", bench.silent), ("killed", bench.killed)]
        bench.plain()  # warm
        bench.silent()
        for turn in range(args.repetitions):
            for name, way in ways[turn % 3 :] + ways[: turn % 3]:  # none is always first
                found[name].append(way())
                if not args.json:
                    print(f"{turn + 1}: {name:<7} {found[name][-1]}", file=sys.stderr)
        version = pg.version
    plain = median(run["tps"] for run in found["plain"])
    seconds = min(len(run["by_second"]) for run in found["killed"])
    killed = [median(run["by_second"][n] for run in found["killed"]) for n in range(seconds)]
    return {
        "server": version,
        "clients": args.clients,
        "runs": found,
        "plain_tps": plain,
        "silent_ratio": round(median(run["tps"] for run in found["silent"]) / plain, 2),
        "killed_ratio_by_second": [round(tps / plain, 2) for tps in killed],
    }


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--seconds", type=int, default=8, help="of each run")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--clients", type=int, default=16)
    args = parser.parse_args()
    result = measure(args)
    if args.json:
        print(json.dumps(result))
        return 0
    print(f"PostgreSQL {result['server']}, {args.clients} clients, flush of 1 ms")
    print(f"(a) no triggers:            {result['plain_tps']:,.0f} transactions/s")
    print(f"(b) capture, bell silent:   {result['silent_ratio']:.2f} of (a)")
    print("(c) daemon killed, second by second, of (a):")
    print("    " + "  ".join(f"{ratio:.2f}" for ratio in result["killed_ratio_by_second"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
