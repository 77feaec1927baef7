"""Faults at random moments under load, and an account of every change: exit 0 if nothing was lost,
nothing sent after a rollback, nothing out of order, nothing stuck.

    python -m tests.faults [--runs 9] [--seconds 165] [--seed N] [--json] [--keep]
"""

from __future__ import annotations

import json
import random
import shutil
import sys
import tempfile
import time
from asyncio import Runner
from pathlib import Path

import uvloop
from rich.console import Console

from tests.bench.kit import arguments
from tests.faults.report import as_json, counted_kills, show
from tests.faults.run import Plan, Result, run


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=165, help="of faults in each run")
    parser.add_argument("--seed", type=int, help="repeats the choices of another time")
    parser.add_argument("--keep", action="store_true", help="the data, even if all is well")
    args = parser.parse_args()
    seed = args.seed if args.seed is not None else random.SystemRandom().randrange(1_000_000)
    folder = Path(tempfile.mkdtemp(prefix="cdc-faults-"))
    console = Console(stderr=args.json, width=None if sys.stdout.isatty() else 160)
    status = Console(stderr=True)
    results: list[Result] = []
    broken = False
    for number in range(args.runs):
        plan = Plan(
            seed + number, args.seconds, daemons=random.Random(seed + number).choice((2, 3, 3, 4))
        )
        reported = [0.0]

        def say(text: str, number: int = number, reported: list[float] = reported) -> None:
            # On a terminal all of it; in a log a line now and then.
            if sys.stderr.isatty() or time.monotonic() - reported[0] > 15:
                reported[0] = time.monotonic()
                status.print(f"run {number + 1} of {args.runs}: {text}", highlight=False)

        (folder / f"run-{number + 1}").mkdir()
        try:
            with Runner(loop_factory=uvloop.new_event_loop) as runner:
                done = runner.run(run(plan, folder / f"run-{number + 1}", say))
        except Exception:
            # What the runs before came to is worth telling all the same.
            status.print_exception()
            broken = True
            break
        results.append(done)
        status.print(
            f"run {number + 1} of {args.runs}, seed {plan.seed}: {done.account.delivered:,}"
            f" delivered, {counted_kills([done])} kills,"
            f" {'clean' if done.clean else 'NOT CLEAN'}",
            highlight=False,
        )
        if not done.clean:
            break
    if args.json:
        print(json.dumps(as_json(results, seed)))
    else:
        show(results, seed, console)
    clean = not broken and all(result.clean for result in results)
    if clean and not args.keep:
        shutil.rmtree(folder)
    else:
        console.print(f"the data: {folder}", highlight=False)
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
