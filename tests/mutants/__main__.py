"""Mutation tests: makes small wrong changes, one at a time, and says which ones no test notices.

    make mutants                                            # 60, of seed 11: an hour
    make mutants MUTANTS_ARGS="--seed 7 --count 20 --only cdc/daemon/watcher.py"
    make mutants MUTANTS_ARGS="--count 30 --only 'sql/queries/*.sql'"

Results are kept in .mutants/, by seed: a run that was interrupted goes on, and what was tried is
not tried again before its file changes (--again: what was not killed is). What
tests/mutants/explained.toml explains is not tried. Ends with 1 if any other change survived.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import signal
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from tests.mutants.changes import Change
from tests.mutants.plan import TOP, drawn, explained
from tests.mutants.run import Copy, Result, changed_lines, diff


def main() -> int:
    options = _options()
    # As an interrupt: what was started is ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    changes = drawn(options.seed, options.count, options.only)
    state = State(TOP / ".mutants" / f"{options.seed}.json", again=options.again)
    reasons = explained()
    waiting = [x for x in changes if state.of(x) is None and _named(x) not in reasons]
    if options.list:
        for change in changes:
            print(diff(change))
        return 0
    if waiting:
        with tempfile.TemporaryDirectory(prefix="cdc-mutants-") as folder:
            copies = [Copy(Path(folder) / str(number)) for number in range(options.jobs)]
            try:
                _try(waiting, copies, options.limit, state)
            finally:
                for copy in copies:
                    copy.stop()
    return _report(changes, state, reasons, as_json=options.json)


def _try(changes: list[Change], copies: list[Copy], limit: float, state: State) -> None:
    free: SimpleQueue[Copy] = SimpleQueue()
    for copy in copies:
        free.put(copy)

    def tried(change: Change) -> Result:
        copy = free.get()
        try:
            return copy.tried(change, limit)
        finally:
            free.put(copy)

    pool = ThreadPoolExecutor(len(copies))
    try:
        trials = {pool.submit(tried, change): change for change in changes}
        for number, trial in enumerate(as_completed(trials), start=1):
            change, result = trials[trial], trial.result()
            state.keep(change, result)
            print(
                f"{number}/{len(changes)} {result.fate:8} {change.file}:{change.line}"
                f" {change.kind} ({result.took:.0f} s) {result.by}",
                file=sys.stderr,
                flush=True,
            )
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "tests.mutants", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--only", action="append", default=[], metavar="FILE", help="or a pattern")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--limit", type=float, default=900.0, help="seconds for each change")
    parser.add_argument("--again", action="store_true", help="try again what was not killed")
    parser.add_argument("--list", action="store_true", help="print the changes, try none")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


class State:
    """Results by change, kept after each."""

    def __init__(self, path: Path, *, again: bool) -> None:
        self._path = path
        self._results: dict[str, Any] = {}
        if path.exists():
            self._results = json.loads(path.read_text("utf-8"))
        if again:
            self._results = {k: r for k, r in self._results.items() if r["fate"] == "killed"}

    def of(self, change: Change) -> Result | None:
        kept = self._results.get(_key(change))
        return None if kept is None else Result(**kept)

    def keep(self, change: Change, result: Result) -> None:
        self._results[_key(change)] = asdict(result)
        self._path.parent.mkdir(exist_ok=True)
        self._path.write_text(json.dumps(self._results, indent=1), "utf-8")


def _key(change: Change) -> str:
    """The same for as long as the changed file is the same."""
    source = (TOP / change.file).read_text("utf-8")
    digest = hashlib.sha256(change.applied(source).encode()).hexdigest()[:16]
    return f"{change.file} {digest}"


def _named(change: Change) -> tuple[str, str, str]:
    return change.file, *changed_lines(change)


def _report(
    changes: list[Change], state: State, reasons: dict[tuple[str, str, str], str], *, as_json: bool
) -> int:
    rows: list[dict[str, Any]] = []
    for change in changes:
        # What is explained is not tried.
        result = state.of(change) or Result("survived", "", 0.0)
        rows.append(
            {
                "file": change.file,
                "line": change.line,
                "kind": change.kind,
                **asdict(result),
                "reason": reasons.get(_named(change)),
                "diff": diff(change),
            }
        )
    killed = sum(row["fate"] == "killed" for row in rows)
    left = [row for row in rows if row["fate"] != "killed"]
    open_ = [row for row in left if row["reason"] is None]
    if as_json:
        print(json.dumps({"killed": killed, "of": len(rows), "changes": rows}, indent=1))
        return 1 if open_ else 0
    for row in left:
        print(f"\n{row['fate']}: {row['reason'] or 'NOT EXPLAINED'}\n{row['diff']}")
    print(
        f"\n{killed} of {len(rows)} killed, {len(left) - len(open_)} explained, {len(open_)} open"
    )
    return 1 if open_ else 0


if __name__ == "__main__":
    sys.exit(main())
