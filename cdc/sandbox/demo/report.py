"""How the demo ended: for the exit code, for people, and as JSON for programs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from cdc import __version__
from cdc.sandbox.account import Account, OwedDelivery
from cdc.sandbox.demo.book import Book
from cdc.sandbox.demo.protocol import EVENTS
from cdc.sandbox.records import Change

COLUMNS = {"lost": "missing", "repeated without a cause": "repeated"}
"""Of violations, by their kind; the others are ``wrong``."""


@dataclass(slots=True)
class Line:
    """One line of the closing table.

    missing:   deliveries that never came, or were not accepted in the end.
    wrong:     what was not as owed, or not owed at all.
    repeated:  POSTs of deliveries that had been accepted.
    latencies: seconds from COMMIT to receipt, sorted; in the table those of the tag ``live``.
    """

    expected: int = 0
    received: int = 0
    missing: int = 0
    wrong: int = 0
    repeated: int = 0
    latencies: list[float] = field(default_factory=list)

    @classmethod
    def of(cls, owed: Sequence[OwedDelivery]) -> Line:
        """The deliveries, without what is wrong with them."""
        came = sorted(d.first - d.change.done for d in owed if d.first is not None)
        return cls(len(owed), len(came), latencies=came)

    def percentile(self, share: float) -> float | None:
        """The latency that the given share (0 to 1) of the deliveries kept within."""
        if not self.latencies:
            return None
        return self.latencies[max(0, math.ceil(share * len(self.latencies)) - 1)]

    def as_json(self) -> dict[str, Any]:
        numbers = asdict(self)
        del numbers["latencies"]
        for name, share in (("p50_ms", 0.5), ("p99_ms", 0.99)):
            latency = self.percentile(share)
            numbers[name] = None if latency is None else round(latency * 1000, 3)
        return numbers


def lines(account: Account) -> dict[str, Line]:
    """By event, in the protocol's order; ``""`` for what names none."""
    events = (*EVENTS, *sorted({event for _, event in account.found} - set(EVENTS)))
    return {event: _line(account, {event}) for event in events}


def total(account: Account) -> Line:
    return _line(account, {*EVENTS, *(event for _, event in account.found)})


def _line(account: Account, events: set[str]) -> Line:
    owed = [d for d in account.deliveries if d.change.event in events]
    line = Line.of(owed)
    line.latencies = Line.of([d for d in owed if d.change.tag == "live"]).latencies
    for (kind, event), number in account.found.items():
        if event in events:
            column = COLUMNS.get(kind, "wrong")
            setattr(line, column, getattr(line, column) + number)
    return line


@dataclass(slots=True)
class DemoReport:
    """seconds:     from the start to the account.
    steps:       titles of the steps that were begun.
    proven:      a later change came at the same webhooks, and nothing of what was rolled back.
    rolled_back: how many deliveries the rolled-back changes would have been.
    problems:    what is wrong apart from the deliveries: the daemon ended, a step did not.
    log:         the end of the daemon's log, where something is wrong.
    """

    account: Account = field(default_factory=Account)
    postgres: str = ""
    seconds: float = 0.0
    steps: list[str] = field(default_factory=list)
    proven: bool = False
    rolled_back: int = 0
    problems: list[str] = field(default_factory=list)
    log: str = ""

    def close(self, account: Account, book: Book, proof: Sequence[Change]) -> None:
        """Takes the account, and what it says of the rolled-back changes and the refused POST."""
        self.account = account
        self.rolled_back = sum(book.owed(c) for c in book.changes if not c.committed)
        later = [d.first is not None for d in account.deliveries if d.change in proof]
        self.proven = any(later) and all(later) and "rolled back" not in account.counts
        if account.retries != book.refusals:
            self.problems.append(f"{account.retries} retries; {book.refusals} POSTs were refused")

    @property
    def ok(self) -> bool:
        account = self.account
        return self.proven and account.owed > 0 and not (account.found or self.problems)

    def tagged(self, tag: str) -> Line:
        return Line.of([d for d in self.account.deliveries if d.change.tag == tag])

    @property
    def notes(self) -> list[str]:
        """What is to be said below the table."""
        notes = [
            "Latency: from just before COMMIT is sent to the receiver's last byte; changes of one"
            " row each."
        ]
        bulk, beside, retry = (self.tagged(tag) for tag in ("bulk", "beside", "retry"))
        if bulk.latencies:
            last = bulk.latencies[-1]
            notes.append(
                f"Bulk: {bulk.received:,} rows of one statement, the last one received "
                f"{last * 1000:,.0f} ms after COMMIT ({bulk.received / last:,.0f} a second)."
            )
        if beside.latencies:
            notes.append(
                "Beside it: another company's change, received "
                f"{beside.latencies[0] * 1000:,.1f} ms after COMMIT."
            )
        status = [d.change for d in self.account.deliveries if d.change.became]
        if status and self.ok:
            wanted = len(status) - len(set(status))
            notes.append(f"Status: {wanted} changes arrived where only these are wanted.")
        if retry.received and self.ok:
            notes.append(
                f"Retry: {retry.received} changes of one row arrived in order, although the first "
                "POST was answered 500."
            )
        notes.append(
            f"Rollback: {self.rolled_back} deliveries that must never be; none came, and a later "
            "change of the same rows did."
            if self.proven
            else "Rollback: NOT proven that nothing of it was sent."
        )
        return notes

    @property
    def verdict(self) -> str:
        if self.ok:
            return (
                f"All {self.account.owed:,} deliveries arrived exactly as owed, and nothing else "
                f"did ({self.seconds:.1f} s in all)."
            )
        wrong = [*self.problems]
        if count := self.account.found.total():
            wrong.append(f"{count:,} fault{'s' * (count != 1)} in the account")
        elif not self.proven:
            wrong.append("the story did not come to its end")
        return f"Not everything was as it should be: {'; '.join(wrong)}."

    def as_json(self) -> dict[str, Any]:
        tags = dict.fromkeys(d.change.tag for d in self.account.deliveries)
        return {
            "ok": self.ok,
            "version": __version__,
            "postgres": self.postgres,
            "seconds": round(self.seconds, 3),
            "total": total(self.account).as_json(),
            "events": {event: line.as_json() for event, line in lines(self.account).items()},
            "kinds": {tag: self.tagged(tag).as_json() for tag in tags},
            "rollback": {"forbidden": self.rolled_back, "proven": self.proven},
            "steps": self.steps,
            "problems": self.problems,
            "faults": [{"kind": v.kind, "text": v.text} for v in self.account.violations],
            "daemon_log": self.log.splitlines(),
        }
