"""How soon the work of a daemon that dies or stands still is taken over: three of them under load.

    python -m tests.faults.takeover [--times 10] [--seed N] [--json]

Measured at the receiver: from the signal to the first request of any webhook that the daemon owned
(and to the last of them to get one). What it sends when it goes on is in the account: exit 1 if
anything is lost, or out of order.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
import tempfile
from asyncio import Runner
from pathlib import Path
from statistics import median

import uvloop
from rich.console import Console
from rich.table import Table

from tests.bench.kit import arguments
from tests.faults.report import describe
from tests.faults.run import Plan, Result, run

AIMS = {"kill -9 of one of three": 1.0, "SIGSTOP of one of three": 5.0}


def figures(result: Result) -> dict[str, dict[str, float]]:
    """Per kind: seconds until the first and until the last, median and worst."""
    out = {}
    for kind, aim in AIMS.items():
        firsts = [first for name, first, _ in result.returned if name == kind]
        lasts = [last for name, _, last in result.returned if name == kind]
        out[kind] = {
            "times": len(firsts),
            "aim": aim,
            "first_median": round(median(firsts), 2),
            "first_worst": round(max(firsts), 2),
            "last_median": round(median(lasts), 2),
            "last_worst": round(max(lasts), 2),
        }
    return out


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--seed", type=int)
    args = parser.parse_args()
    seed = args.seed if args.seed is not None else random.SystemRandom().randrange(1_000_000)
    script = ("take_over_killed", "take_over_stopped") * args.times
    plan = Plan(seed, 0, daemons=3, script=script)
    status, console = Console(stderr=True), Console(stderr=args.json, width=120)
    folder = Path(tempfile.mkdtemp(prefix="cdc-takeover-"))
    with Runner(loop_factory=uvloop.new_event_loop) as runner:
        result = runner.run(run(plan, folder, lambda text: status.print(text, highlight=False)))
    rows = figures(result)
    if args.json:
        print(json.dumps({"seed": seed, "clean": result.clean, "take_over": rows}))
    else:
        table = Table(title=f"take-over, seconds from the signal (seed {seed})")
        table.add_column("signal")
        for column in next(iter(rows.values())):
            table.add_column(column.replace("_", " "), justify="right")
        for kind, row in rows.items():
            table.add_row(kind, *(f"{value:g}" for value in row.values()))
        console.print(table)
        console.print(
            f"{result.account.delivered:,} deliveries, {result.account.repeats} repeats,"
            f" {sum(result.account.counts.values()) + len(result.wrong)} violations"
        )
    describe(result, console)
    if result.clean:
        shutil.rmtree(folder)
    return 0 if result.clean else 1


if __name__ == "__main__":
    sys.exit(main())
