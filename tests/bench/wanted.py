"""What filters, changed fields, values and deleted rows cost the writer of a change.

    python -m tests.bench.wanted [--repetitions 9] [--rows 100000] [--json]

Processor time of the writer's backend for one UPDATE or DELETE of one row and of many, with one
webhook, in turns: a mapping that declares nothing; one that does, and no webhook that asks for it;
one that asks. Ratios are medians of the pairs, so they bear a busy machine.

Prints the table of docs/performance.md. Asserts nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
from statistics import median
from typing import Any, NamedTuple

import psycopg

from cdc.sandbox.embedded import EmbeddedPostgres
from cdc.sandbox.suite import capture, declaring
from tests.bench.cost import SETTINGS, prepared
from tests.bench.kit import arguments

UPDATE = "update candidate set name = case name when 'a' then 'b' else 'a' end where id <= %s"
SAME = "update candidate set name = name where id <= %s"
DELETE = "delete from candidate where id <= %s"


class Case(NamedTuple):
    """What the mapping declares of candidates, and a webhook asks for (a column of its row in
    cdc.subscription, and what it holds), when a statement is executed."""

    what: str
    statement: str
    declared: str = ""
    asked: tuple[str, Any] | None = None


NAME, DELETED = 'fields = ["name"]', "deleted = true"
CASES = (
    Case("UPDATE, nothing declared", UPDATE),
    Case("`fields` declared, nothing asked", UPDATE, NAME),
    Case("`--filter`, all rows fit", UPDATE, NAME, ("filter", '{"name": ["a", "b"]}')),
    Case("`--filter`, no row fits: nothing is queued", UPDATE, NAME, ("filter", '{"name": ["c"]}')),
    Case("`--when`, all rows have changed", UPDATE, NAME, ("changed", ["name"])),
    Case("`--when`, no row has: nothing is queued", SAME, NAME, ("changed", ["name"])),
    Case("`--include`", UPDATE, NAME, ("include", ["name"])),
    Case("DELETE, nothing declared", DELETE),
    Case("`deleted` declared, nothing asked", DELETE, DELETED),
    Case("`--action deleted`", DELETE, DELETED, ("actions", "cmd")),
)


def measured(server: EmbeddedPostgres, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Of statements of one row and of all: microseconds of the backend, and the ratio to the same
    statement where nothing is declared."""
    conns = []
    for number, case in enumerate(CASES):
        conn = prepared(server, f"wanted_{number}", 1, args.rows)
        conns.append(conn)
        if case.declared:
            mapping = declaring("candidate_changed", case.declared)
            capture(server.url(f"wanted_{number}"), mapping)
        conn.execute("update candidate set name = 'a'; truncate cdc.queue")
        if case.asked:
            column, value = case.asked
            conn.execute(f"update cdc.subscription set {column} = %s".encode(), (value,))
    found: list[dict[str, Any]] = [{"what": case.what} for case in CASES]
    for size in (1, args.rows):
        took: list[list[float]] = [[] for _ in CASES]
        for turn in range(args.repetitions + 1):
            for place in range(len(CASES)):
                number = (turn + place) % len(CASES)
                us = backend_time(conns[number], CASES[number].statement, size)
                if turn:  # the first one warms
                    took[number].append(us)
        for number, case in enumerate(CASES):
            plain = "DELETE" if case.statement == DELETE else "UPDATE"
            base = next(n for n, one in enumerate(CASES) if one.what.startswith(plain))
            pairs = zip(took[number], took[base], strict=True)
            found[number] |= {
                f"us_{size}": median(took[number]),
                f"ratio_{size}": median(a / b for a, b in pairs),
            }
    for conn in conns:
        conn.close()
    return found


def shown(found: list[dict[str, Any]], rows: int) -> str:
    """As a table in Markdown."""
    lines = [f"| | one row | | {rows:,} rows | |", "|---|---:|---:|---:|---:|"]
    for row in found:
        cells = [
            (f"{row[f'us_{size}'] / unit:,.0f} {word}", f"{row[f'ratio_{size}']:.2f}")
            for size, unit, word in ((1, 1, "us"), (rows, 1000, "ms"))
        ]
        lines.append(f"| {' | '.join([row['what'], *cells[0], *cells[1]])} |")
    return "\n".join(lines)


def backend_time(conn: psycopg.Connection, statement: str, size: int) -> float:
    """Microseconds of processor time of a statement of that many rows; of one row, of 200. What is
    deleted is there again afterwards."""
    conn.execute("truncate cdc.queue")
    conn.execute("vacuum candidate")
    times = 200 if size == 1 else 1
    before = processor_time(conn.info.backend_pid)
    for _ in range(times):
        with conn.transaction(force_rollback=statement == DELETE):
            conn.execute(statement.encode(), (size,))
    return (processor_time(conn.info.backend_pid) - before) / times


def processor_time(pid: int) -> float:
    """Microseconds that a process has run (Linux)."""
    with open(f"/proc/{pid}/schedstat") as file:
        return int(file.read().split()[0]) / 1000


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--repetitions", type=int, default=9, help="of each statement")
    parser.add_argument("--rows", type=int, default=100_000, help="of the large statement")
    args = parser.parse_args()
    with EmbeddedPostgres(settings=SETTINGS) as server:
        found = measured(server, args)
    print(json.dumps(found) if args.json else shown(found, args.rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
