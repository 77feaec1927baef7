"""How the demo ended: for the exit code, for people, and as JSON for programs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from cdc import __version__
from cdc.sandbox.account import Account, OwedDelivery
from cdc.sandbox.demo.ledger import Ledger
from cdc.sandbox.demo.protocol import EVENTS

COLUMNS = {"lost": "missing", "repeated without a cause": "repeated"}
"""Of violations, by their kind; the others are ``wrong``."""
TOTAL = "total"


@dataclass(slots=True)
class Line:
    """One line of the closing table.

    missing:  deliveries that never came, or were not accepted in the end.
    wrong:    what was not as owed, or not owed at all.
    repeated: POSTs of deliveries that had been accepted.
    p50_ms:   latency from COMMIT to receipt; in the table of changes tagged ``live``.
    """

    expected: int = 0
    received: int = 0
    missing: int = 0
    wrong: int = 0
    repeated: int = 0
    p50_ms: float | None = None
    p99_ms: float | None = None

    @classmethod
    def of(cls, owed: Sequence[OwedDelivery], timed: str = "") -> Self:
        """The deliveries, without what is wrong with them. timed: the tag whose latencies count."""
        took = sorted(
            d.first - d.change.done
            for d in owed
            if d.first is not None and timed in ("", d.change.tag)
        )
        came = sum(d.first is not None for d in owed)
        return cls(len(owed), came, p50_ms=percentile(took, 0.5), p99_ms=percentile(took, 0.99))


def percentile(sorted_seconds: Sequence[float], share: float) -> float | None:
    """The milliseconds that the given share (0 to 1) of the deliveries kept within."""
    if not sorted_seconds:
        return None
    place = max(0, math.ceil(share * len(sorted_seconds)) - 1)
    return round(sorted_seconds[place] * 1000, 3)


def lines(account: Account) -> dict[str, Line]:
    """By event, in the protocol's order; ``""`` for what names none, and ``total``."""
    events = (*EVENTS, *sorted({event for _, event in account.found} - set(EVENTS)))
    owed = {e: [d for d in account.deliveries if d.change.event == e] for e in events}
    made = {event: Line.of(owed[event], "live") for event in events}
    made[TOTAL] = Line.of(account.deliveries, "live")
    for (kind, event), number in account.found.items():
        column = COLUMNS.get(kind, "wrong")
        for line in (made[event], made[TOTAL]):
            setattr(line, column, getattr(line, column) + number)
    return made


@dataclass(slots=True)
class DemoReport:
    """seconds:     from the start to the account.
    steps:       titles of the steps that were begun.
    finished:    all steps came to their end, the last of which follows whatever was rolled back.
    rolled_back: how many deliveries the rolled-back changes would have been.
    problems:    what is wrong apart from the deliveries: the daemon ended, a step did not.
    log:         the end of the daemon's log, where something is wrong.
    """

    account: Account = field(default_factory=Account)
    postgres: str = ""
    seconds: float = 0.0
    steps: list[str] = field(default_factory=list)
    finished: bool = False
    rolled_back: int = 0
    problems: list[str] = field(default_factory=list)
    log: str = ""

    def close(self, account: Account, ledger: Ledger) -> None:
        """Takes the account, and what it says of the rolled-back changes and the refused POST."""
        self.account = account
        self.rolled_back = sum(ledger.owed(c) for c in ledger.changes if not c.committed)
        if account.retries != ledger.refused:
            self.problems.append(f"{account.retries} retries; {ledger.refused} POSTs were refused")

    @property
    def proven(self) -> bool:
        """Whether later changes came at the same webhooks, and nothing of what was rolled back."""
        found = self.account.counts
        return self.finished and not ({"lost", "rolled back"} & found.keys())

    @property
    def ok(self) -> bool:
        return self.proven and self.account.owed > 0 and not (self.account.found or self.problems)

    @property
    def notes(self) -> list[str]:
        """What stands below the table."""
        return [
            "Latency: from just before COMMIT is sent to the receiver's last byte; changes of one"
            " row each.",
            f"Rollback: {self.rolled_back} deliveries that must never be; none came, and later "
            "changes of the same webhooks did."
            if self.proven
            else "Rollback: NOT proven that nothing of it was sent.",
        ]

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
        made = {event: asdict(line) for event, line in lines(self.account).items()}
        tagged: dict[str, list[OwedDelivery]] = {}
        for owed in self.account.deliveries:
            tagged.setdefault(owed.change.tag, []).append(owed)
        return {
            "ok": self.ok,
            "version": __version__,
            "postgres": self.postgres,
            "seconds": round(self.seconds, 3),
            "total": made.pop(TOTAL),
            "events": made,
            "kinds": {tag: asdict(Line.of(owed)) for tag, owed in tagged.items()},
            "rollback": {"forbidden": self.rolled_back, "proven": self.proven},
            "steps": self.steps,
            "problems": self.problems,
            "faults": [{"kind": v.kind, "text": v.text} for v in self.account.violations],
            "daemon_log": self.log.splitlines(),
        }
