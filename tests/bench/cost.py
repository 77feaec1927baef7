"""What one change costs: time in the writer's statement, bytes in our tables, memory in a daemon.

    python -m tests.bench.cost [--repetitions 7] [--rows 100000] [--json]

Time: one session updates 1 to 100,000 rows of a table by one statement, a transaction each, in
turns: without triggers, with capture and no webhook, for one webhook, for three. Printed
is the median of the statement (COMMIT is the same for all), and what it is beyond the one without
triggers, for each row and webhook.

Bytes: rows of each of our tables as capture and settling write them, with their indexes.

Memory: what a daemon's process grows by when it holds deliveries whose receiver does not answer.

Asserts nothing: it is to be read. Figures of one run belong together, and to no other machine.
"""

from __future__ import annotations

import argparse
import json
import re
import socket
import subprocess
import sys
import time
import urllib.request
from statistics import median
from typing import Any

import psycopg

from cdc.mapping import default_mapping
from cdc.sandbox.embedded import EmbeddedPostgres
from cdc.sandbox.process import bare_environment
from cdc.sandbox.suite import tables_sql
from tests.bench.kit import arguments
from tests.support import installation

SIZES = (1, 10, 64, 65, 1_000, 10_000, 100_000)
WAYS = {"plain": None, "none": 0, "one": 1, "three": 3}
SETTINGS = {"shared_buffers": "512MB", "max_wal_size": "8GB", "checkpoint_timeout": "1h"}
HELD = 20_000
"""Deliveries in a daemon's memory."""


def prepared(server: EmbeddedPostgres, name: str, webhooks: int | None, rows: int) -> Any:
    """A database with a suite of so many candidates, and a session in it."""
    with psycopg.connect(server.url(), autocommit=True) as conn:
        conn.execute(f"create database {name}".encode())
    url = server.url(name)
    if webhooks is None:
        with psycopg.connect(url, autocommit=True) as conn:
            conn.execute(tables_sql(default_mapping(), "bigint").encode())
    else:
        installation.prepare_template(url)
        installation.adopt(url)
    conn = psycopg.connect(url, autocommit=True)
    conn.execute(
        "set session_replication_role = replica;"  # capture is not to see these
        "insert into company (id) values (1);"
        "insert into project (id, company_id) select g, 1 from generate_series(1, 1000) g;"
        "insert into candidate (id, project_id)"
        f" select g, g % 1000 + 1 from generate_series(1, {rows}) g;"
        "reset session_replication_role".encode()
    )
    conn.execute("vacuum (analyze)")
    for _ in range(webhooks or 0):
        register(conn, "https://abc.com/")
    return conn


def register(conn: psycopg.Connection, endpoint: str) -> None:
    conn.execute(
        "with w as (insert into cdc.webhook (company, endpoint) values ('1', %s) returning id),"
        " s as (insert into cdc.webhook_secret (webhook_id, secret)"
        "       select id, 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw' from w)"
        " insert into cdc.subscription select '1', 'candidate_changed', id from w",
        (endpoint,),
    )


def statement(conn: psycopg.Connection, size: int, captured: bool) -> float:
    """Milliseconds of an update of so many rows; what it left is cleared away."""
    with conn.transaction():
        began = time.perf_counter()
        conn.execute("update candidate set name = 'x' where id <= %s", (size,), prepare=True)
        took = (time.perf_counter() - began) * 1000
    if size >= 1000:
        conn.execute("vacuum candidate")
        if captured:
            conn.execute("truncate cdc.queue")
    return took


def times(server: EmbeddedPostgres, args: argparse.Namespace) -> list[dict[str, Any]]:
    conns = {name: prepared(server, name, n, args.rows) for name, n in WAYS.items()}
    found = []
    for size in (s for s in SIZES if s <= args.rows):
        again = args.repetitions * max(1, min(100, 2_000 // size))
        took: dict[str, list[float]] = {name: [] for name in WAYS}
        for turn in range(again + 1):
            order = list(WAYS)
            for name in order[turn % 4 :] + order[: turn % 4]:  # none is always first
                ms = statement(conns[name], size, WAYS[name] is not None)
                if turn:  # the first one warms
                    took[name].append(ms)
        row: dict[str, Any] = {"rows": size}
        for name in WAYS:
            row[name] = median(took[name])
        for name, number in WAYS.items():
            if number:
                row[f"us_{name}"] = (row[name] - row["plain"]) * 1000 / size / number
        found.append(row)
    for conn in conns.values():
        conn.close()
    return found


# Rows as they are written: by capture, by settling, by a failure (with a body), by the end of it.
_MOVES = {
    "attempt": "insert into cdc.attempt (slot, at, delivery, uid, webhook_id, layout, action, time,"
    " refs, try, outcome, status, duration_ms, xid) select 0, clock_timestamp(), id, uid,"
    " webhook_id, layout, action, time, refs, 1, 'delivered', 200, 12.5, xid from cdc.queue",
    "retry": "insert into cdc.retry (webhook_id, id, uid, xid, layout, action, time, refs, event,"
    " key, body, attempts, tries, due_at, last_status, last_error) select webhook_id, id, uid, xid,"
    " layout, action, time, refs, 'candidate_changed', refs[cardinality(refs)],"
    " convert_to(rpad('{', 330, 'x'), 'UTF8'), 1, 1, clock_timestamp(), 500, 'status'"
    " from cdc.queue",
    "dead": "insert into cdc.dead (webhook_id, id, uid, xid, layout, action, time, refs, event,"
    " key, body, attempts, tries, last_status, last_error) select webhook_id, id, uid, xid, layout,"
    " action, time, refs, event, key, body, 10, 10, 500, 'status' from cdc.retry",
}
_SIZE = {
    "attempt": "select sum(pg_total_relation_size(relid)) from pg_partition_tree('cdc.attempt')",
    **{
        name: f"select pg_total_relation_size('cdc.{name}')"
        for name in ("queue", "retry", "dead", "unresolved")
    },
}


def sizes(server: EmbeddedPostgres, rows: int) -> dict[str, int]:
    """Bytes a row, with its indexes."""
    found = {}
    with prepared(server, "sizes", 1, rows) as conn:

        def size(name: str) -> int:
            return int(conn.execute(_SIZE[name].encode()).fetchall()[0][0])

        before = {name: size(name) for name in _SIZE}
        # As writers fill it: a row a transaction is no other row.
        conn.execute("update candidate set name = 'x'")
        conn.execute("update candidate set project_id = null")  # without a company
        for name in ("queue", *_MOVES, "unresolved"):
            if name in _MOVES:
                conn.execute(_MOVES[name].encode())
            found[name] = (size(name) - before[name]) // rows
    return found


def memory(server: EmbeddedPostgres) -> dict[str, float]:
    """kB that a daemon's process grows by for each delivery it holds."""
    with (
        prepared(server, "memory", 0, HELD) as conn,
        socket.create_server(("127.0.0.1", 0)) as hung,
    ):
        register(conn, f"http://127.0.0.1:{hung.getsockname()[1]}/")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        environment = bare_environment()
        environment |= {
            "CDC_DATABASE_URL": server.url("memory"), "CDC_ALLOW_HTTP": "true",
            "CDC_ALLOWED_NETWORKS": "127.0.0.0/8", "CDC_HTTP_PORT": str(port),
            "CDC_WINDOW": str(2 * HELD), "CDC_TOTAL_WINDOW": str(2 * HELD),
        }  # fmt: skip
        daemon = subprocess.Popen(
            [sys.executable, "-m", "cdc", "run"], env=environment, stderr=subprocess.DEVNULL
        )
        try:
            until_held(daemon, port, 0)
            before = resident(daemon.pid)
            conn.execute("update candidate set name = 'x'")
            until_held(daemon, port, HELD)
            after = resident(daemon.pid)
        finally:
            daemon.kill()
            daemon.wait()
    return {
        "idle_mb": round(before / 1024, 1),
        "held": HELD,
        "kb_each": round((after - before) / HELD, 2),
    }


def until_held(daemon: subprocess.Popen[bytes], port: int, wanted: int) -> None:
    deadline = time.monotonic() + 60
    while daemon.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as page:
                text = page.read().decode()
            ready = re.search(r"^cdc_ready 1", text, re.MULTILINE)
            held = re.search(r"^cdc_in_memory ([\d.e+]+)", text, re.MULTILINE)
            if ready and held and float(held[1]) >= wanted:
                return
        except OSError:
            pass
        time.sleep(0.05)
    raise SystemExit("the daemon does not come to hold what there is")


def resident(pid: int) -> int:
    """kB of memory that the process occupies (Linux)."""
    with open(f"/proc/{pid}/status") as status:
        found = re.search(r"VmRSS:\s+(\d+) kB", status.read())
    assert found
    return int(found[1])


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--repetitions", type=int, default=7, help="of each statement, at least")
    parser.add_argument("--rows", type=int, default=100_000, help="of the largest statement")
    args = parser.parse_args()
    with EmbeddedPostgres(settings=SETTINGS) as server:
        found: dict[str, Any] = {
            "server": server.version,
            "times": times(server, args),
            "bytes": sizes(server, args.rows),
            "memory": memory(server),
        }
    if args.json:
        print(json.dumps(found))
        return 0
    print(f"PostgreSQL {found['server']}; ms of one UPDATE, and microseconds a row and webhook")
    print("    rows     plain      none       one     three   us, one  us, three")
    for row in found["times"]:
        ms = "".join(f"{row[name]:>10.3f}" for name in WAYS)
        print(f"{row['rows']:>8}{ms}{row['us_one']:>10.1f}{row['us_three']:>11.1f}")
    print("bytes a row, with indexes:", found["bytes"])
    print("memory of a daemon:", found["memory"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
