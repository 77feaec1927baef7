"""The benchmark: how fast changes become POSTs, beside baselines of the same run.

    python -m tests.bench [--short] [--workload drain,live] [--json]

Starts a private PostgreSQL, a receiver and the daemon, and touches no database that the environment
names unless it is asked to. Exits 0 when all was measured and nothing was lost.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path

from rich.console import Console

from cdc.errors import CdcError, UsageError
from cdc.settings import load
from tests.bench.document import place, write
from tests.bench.report import show
from tests.bench.run import FULL, SHORT, chosen, run


def main(words: list[str] | None = None) -> int:
    """Returns the code to exit with. Raises CdcError."""
    parser = argparse.ArgumentParser("python -m tests.bench", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("--workload", metavar="NAMES", default="", help="only these, with commas: drain,live")
    add("--short", action="store_true", help="smaller and fewer: about a minute")
    add(
        "--on-my-server",
        action="store_true",
        help="on the server of CDC_DATABASE_URL, in databases named cdc_bench_* that are made for "
        "it and dropped again; loads that server fully",
    )
    add(
        "--report",
        metavar="FOLDER",
        type=Path,
        help="also write tables into performance.md there",
    )
    add("--json", action="store_true", help="JSON on stdout, and nothing else")
    args = parser.parse_args(words)
    names = [name.strip() for name in args.workload.split(",") if name.strip()]
    if args.report is not None:
        if args.short or names:
            raise UsageError("--report is for a whole run", "Leave out --workload and --short.")
        place(args.report)  # not only when half an hour has been measured
    report = run(
        chosen(names, short=args.short),
        size=SHORT if args.short else FULL,
        theirs=load(None).database_url if args.on_my_server else None,
        say=partial(print, file=sys.stderr, flush=True),
    )
    if args.report is not None:
        write(report, args.report)
    if args.json:
        print(json.dumps(report.as_json(), indent=2))
    else:
        show(report, Console(highlight=False))
    return 0 if report.ok else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CdcError as error:
        sys.exit(f"{error.message}\n{error.hint}".rstrip())
