"""The suite's ledger of what it changed, what arrived compared with it, and the report of that.

Knows nothing of the queue.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from cdc import __version__
from cdc.sandbox.account import Account, OwedDelivery, account, percentile
from cdc.sandbox.protocol import EVENTS, HEADERS, Said, SuiteRow, body, said
from cdc.sandbox.receiver import Received
from cdc.sandbox.records import Arrival, Change, Hook

LATE_AFTER_S = 30.0
"""Seconds from COMMIT to receipt beyond which a delivery counts as wrong."""
TIMED = ("live", "steady")
"""Tags of changes of one row each at a receiver that accepts: those whose latencies count."""

_NO_HOOK = Hook(-1, "", frozenset())
"""At a path that no webhook has."""

Report = dict[str, Any]


class Ledger:
    """Every change that the suite made.

    hooks:   the registered webhooks; each receives at ``/`` and its name.
    refused: POSTs that the receiver answers with a failure on purpose, so they come twice.
    """

    def __init__(self, hooks: Iterable[Hook], rows: Iterable[SuiteRow]) -> None:
        self.hooks = {f"/{hook.name}": hook for hook in hooks}
        self.rows = {(row.event, row.key): row for row in rows}
        self.changes: list[Change] = []
        self.refused = 0
        self._versions: Counter[tuple[str, str]] = Counter()

    def enter(self, changes: Iterable[Change], *, committed: bool, done: float = 0.0) -> None:
        """They are about to be committed, or were rolled back."""
        for change in changes:
            version = self._versions[change.event, change.key]
            self.changes.append(change._replace(committed=committed, done=done, version=version))
            self._versions[change.event, change.key] += 1

    def due(self) -> int:
        """POSTs that are owed, those included that are refused at first."""
        hooks = self.hooks.values()
        return self.refused + sum(h.wants(c) for c in self.changes if c.committed for h in hooks)

    def account(self, received: Iterable[Received]) -> Account:
        """All of it, compared."""
        arrivals = map(self._arrival, received)
        return account(self.changes, arrivals, [*self.hooks.values()], late_after=LATE_AFTER_S)

    def report(self, received: Iterable[Received], problems: Sequence[str]) -> Report:
        """How the demo ended, as `--json` prints it.

        problems: what is wrong apart from the deliveries: the daemon ended, a scene did not.
        """
        found, problems = self.account(received), [*problems]
        if found.retries != self.refused:
            problems.append(f"{found.retries} retries; {self.refused} POSTs were refused")
        # Later changes came at the same webhooks, and nothing of what was rolled back.
        proven = not problems and not {"lost", "rolled back"} & found.counts.keys()
        events = {e: [d for d in found.deliveries if d.change.event == e] for e in EVENTS}
        return {
            "ok": proven and found.owed > 0 and not found.found,
            "version": __version__,
            "total": _figures(found.deliveries),
            "events": {event: _figures(owed) for event, owed in events.items()},
            "found": found.counts,
            "faults": [
                {"kind": v.kind, "text": f"webhook {v.webhook + 1}, {v.text}"}
                for v in found.violations
            ],
            "rollback": {"forbidden": found.rolled_back, "proven": proven},
            "problems": problems,
        }

    def _arrival(self, got: Received) -> Arrival:
        """What a POST says, and in what it differs from what its row owes."""
        hook = self.hooks.get(got.path, _NO_HOOK)
        says, altered = Said("", "", "", "", 0), f"another form: {got.body[:600]!r}"
        with suppress(ValueError, LookupError, TypeError, AttributeError):
            says = said(got.body)
            altered = self._altered(got, says, hook)
        ends = (got.clock, got.clock, got.status or 0, got.problem or "")
        return Arrival(hook.number, got.uid, *says, *ends, altered, hash(got.body))

    def _altered(self, got: Received, says: Said, hook: Hook) -> str:
        row = self.rows.get((says.event, says.key))
        if row is None:
            return ""
        endpoint = f"http://{got.headers['host']}{got.path}"
        came = (got.method, {name: got.headers.get(name) for name in HEADERS}, got.body)
        owed = ("POST", HEADERS, body(endpoint, says.time, row, says.action, hook.became))
        return "" if came == owed else f"owed was {owed}, but {came} came"


def _figures(owed: Sequence[OwedDelivery]) -> dict[str, int | float | None]:
    received = sum(delivery.first is not None for delivery in owed)
    timed = (delivery for delivery in owed if delivery.change.tag in TIMED)
    return {"expected": len(owed), "received": received, **percentiles_ms(timed)}


def percentiles_ms(owed: Iterable[OwedDelivery]) -> dict[str, float | None]:
    """From COMMIT to the receipt; None where nothing came."""
    took = sorted((d.first - d.change.done) * 1000 for d in owed if d.first is not None)
    shares = {"p50_ms": 0.5, "p99_ms": 0.99}
    return {name: round(percentile(took, s), 3) if took else None for name, s in shares.items()}
