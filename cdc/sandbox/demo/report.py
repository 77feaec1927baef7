"""How the demo ended: for the exit code, for people, and as JSON for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cdc import __version__
from cdc.sandbox.demo.account import Account, Line
from cdc.sandbox.demo.ledger import Entry

FAULTS_TOLD = 100


@dataclass(slots=True)
class DemoReport:
    """seconds:     from the start to the account.
    steps:       titles of the steps that were begun.
    rolled_back: how many deliveries the rolled-back changes would have been.
    proven:      a later change came at the same webhooks, and nothing of what was rolled back.
    problems:    what is wrong beside the deliveries: the daemon ended, a step did not.
    log:         the end of the daemon's log, where something is wrong.
    """

    account: Account
    postgres: str
    seconds: float
    steps: list[str] = field(default_factory=list)
    rolled_back: int = 0
    proven: bool = False
    problems: list[str] = field(default_factory=list)
    log: str = ""

    @property
    def ok(self) -> bool:
        return (
            self.account.ok
            and self.proven
            and not self.problems
            and self.account.total.expected > 0
        )

    @property
    def notes(self) -> list[str]:
        """What is to be said beside the table."""
        told = [
            "Latency: from just before COMMIT is sent to the receiver's last byte; changes of one"
            " row each."
        ]
        bulk = self.account.kinds.get("bulk")
        if bulk is not None and bulk.latencies:
            last = bulk.latencies[-1]
            told.append(
                f"Bulk: {bulk.received:,} rows of one statement, the last one received "
                f"{last * 1000:,.0f} ms after COMMIT ({bulk.received / last:,.0f} a second)."
            )
        beside = self.account.kinds.get("beside")
        if beside is not None and beside.latencies:
            told.append(
                "Beside it: another company's change, received "
                f"{beside.latencies[0] * 1000:,.1f} ms after COMMIT."
            )
        retry = self.account.kinds.get("retry")
        if retry is not None and self.account.ok:
            told.append(
                f"Retry: {retry.received} changes of one row arrived in order, although the first "
                "POST was answered 500."
            )
        if self.proven:
            told.append(
                f"Rollback: {self.rolled_back} deliveries that must never be; none came, and a "
                "later change of the same rows did."
            )
        else:
            told.append("Rollback: NOT proven that nothing of it was sent.")
        return told

    @property
    def verdict(self) -> str:
        total = self.account.total
        if self.ok:
            return (
                f"All {total.expected:,} deliveries arrived exactly as owed, and nothing else did "
                f"({self.seconds:.1f} s in all)."
            )
        wrong = [*self.problems]
        if self.account.faults:
            count = len(self.account.faults)
            wrong.append(f"{count:,} fault{'s' * (count != 1)} in the account")
        elif not self.proven:
            wrong.append("the story did not come to its end")
        return f"Not everything was as it should be: {'; '.join(wrong)}."

    def as_json(self) -> dict[str, Any]:
        account = self.account
        return {
            "ok": self.ok,
            "version": __version__,
            "postgres": self.postgres,
            "seconds": round(self.seconds, 3),
            "total": _line(account.total),
            "events": {name: _line(line) for name, line in account.events.items()},
            "kinds": {name: _line(line) for name, line in account.kinds.items()},
            "rollback": {"forbidden": self.rolled_back, "proven": self.proven},
            "steps": self.steps,
            "problems": self.problems,
            "faults": [
                {"kind": fault.kind, "text": fault.text} for fault in account.faults[:FAULTS_TOLD]
            ],
            "daemon_log": self.log.splitlines(),
        }


def proven(account: Account, proof: Sequence[Entry]) -> bool:
    """Whether the change after the rolled-back ones came everywhere, and nothing of them did."""
    came = {arrival.entry.number for arrival in account.arrivals if arrival.entry is not None}
    return bool(proof) and {e.number for e in proof} <= came and not account.count("rolled back")


def _line(line: Line) -> dict[str, Any]:
    return {
        "expected": line.expected,
        "received": line.received,
        "missing": line.missing,
        "wrong": line.wrong,
        "repeated": line.repeated,
        "p50_ms": _milliseconds(line.percentile(0.5)),
        "p99_ms": _milliseconds(line.percentile(0.99)),
    }


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)
