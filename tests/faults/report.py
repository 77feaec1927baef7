"""What the runs came to, for people and for machines."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.faults.faults import ENOUGH
from tests.faults.run import Result


def counted_kills(results: Iterable[Result]) -> int:
    """Kills at a moment when enough was in flight."""
    return sum(f.is_kill and f.in_flight >= ENOUGH for r in results for f in r.faults)


def by_kind(results: Iterable[Result]) -> dict[str, dict[str, Any]]:
    """For each kind of fault: how often, in flight at that moment, silence afterwards (seconds)."""
    silent: dict[str, list[float]] = defaultdict(list)
    flight: dict[str, list[int]] = defaultdict(list)
    for result in results:
        for fault, seconds in zip(result.faults, result.silent, strict=True):
            flight[fault.kind].append(fault.in_flight)
            if seconds is not None:
                silent[fault.kind].append(seconds)
    return {
        kind: {
            "times": len(numbers),
            "in_flight_median": median(numbers),
            "silence_median": round(median(silent[kind]), 2) if silent[kind] else None,
            "silence_worst": round(max(silent[kind]), 2) if silent[kind] else None,
        }
        for kind, numbers in sorted(flight.items())
    }


def as_json(results: Sequence[Result], seed: int) -> dict[str, Any]:
    """Everything, for machines."""
    return {
        "seed": seed,
        "clean": all(result.clean for result in results),
        "runs": [
            {
                "seed": r.plan.seed,
                "seconds": round(r.seconds, 1),
                "owed": r.account.owed,
                "delivered": r.account.delivered,
                "requests": r.account.requests,
                "retries": r.account.retries,
                "repeats": r.account.repeats,
                "overlapping_repeats": r.account.overlapping,
                "owed_to_refusers": r.account.rejected,
                "rolled_back_changes": r.account.rolled_back,
                "transactions": r.transactions,
                "commits_without_answer": r.unknown_commits,
                "faults": len(r.faults),
                "kills": sum(f.is_kill for f in r.faults),
                "kills_counted": counted_kills([r]),
                "receiver_spells": r.spells,
                "violations": r.account.counts,
                "wrong": r.wrong,
            }
            for r in results
        ],
        "faults": by_kind(results),
        "total": {
            "deliveries": sum(r.account.delivered for r in results),
            "kills": sum(f.is_kill for r in results for f in r.faults),
            "kills_counted": counted_kills(results),
            "repeats": sum(r.account.repeats for r in results),
            "violations": sum(sum(r.account.counts.values()) + len(r.wrong) for r in results),
        },
    }


def show(results: Sequence[Result], seed: int, console: Console) -> None:
    """Tables, then what is wrong."""
    report = as_json(results, seed)
    table = Table(title=f"seed {seed}")
    columns = ["seed", "seconds", "delivered", "retries", "repeats", "overlapping_repeats"]
    columns += ["rolled_back_changes", "commits_without_answer", "faults", "kills_counted"]
    for column in [*columns, "violations"]:
        table.add_column(column.replace("_", " "), justify="right")
    for run in report["runs"]:
        wrong = sum(run["violations"].values()) + len(run["wrong"])
        table.add_row(*(f"{run[column]:,}" for column in columns), str(wrong))
    console.print(table)
    table = Table(title="each fault, and how long a webhook that was owed something waited for it")
    for column in ("fault", "times", "in flight (median)", "median s", "worst s"):
        table.add_column(column, justify="left" if column == "fault" else "right")
    for kind, row in report["faults"].items():
        table.add_row(kind, *(str(value) for value in row.values()))
    console.print(table)
    total = report["total"]
    console.print(
        f"{total['deliveries']:,} deliveries, {total['kills']} kills, of which"
        f" {total['kills_counted']} with {ENOUGH} requests in flight or more,"
        f" {total['repeats']:,} repeats, {total['violations']} violations"
    )
    for result in results:
        describe(result, console)


def describe(result: Result, console: Console) -> None:
    """What is wrong with a run."""
    if result.clean:
        return
    console.print(f"run with seed {result.plan.seed}: see {result.folder}", style="red")
    for wrong in result.wrong:
        console.print(wrong, markup=False, highlight=False)
    for violation in result.account.violations:
        console.print(
            f"{violation.kind}: webhook {violation.webhook}, {violation.text}",
            markup=False,
            highlight=False,
        )
    for fault in result.faults:
        console.print(
            f"  {fault.at:.3f} to {fault.over:.3f}: {fault.kind} {fault.what}", highlight=False
        )
