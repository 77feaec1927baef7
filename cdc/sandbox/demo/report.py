"""How the demo ended, as `--json` prints it: what was owed, held against what came."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from cdc import __version__
from cdc.sandbox.account import OwedDelivery
from cdc.sandbox.demo.ledger import Ledger
from cdc.sandbox.demo.protocol import EVENTS
from cdc.sandbox.receiver import Received

COLUMNS = {"lost": "missing", "repeated without a cause": "repeated"}
"""Of violations, by their kind; the others are ``wrong``."""

Figures = dict[str, int | float | None]
Report = dict[str, Any]


def report(ledger: Ledger, received: Sequence[Received], problems: Sequence[str]) -> Report:
    """The account of both. Latencies of an event are those of changes tagged ``live``.

    problems: what is wrong apart from the deliveries: the daemon ended, a scene did not.
    """
    account = ledger.account(received)
    by_event = {
        event: figures([d for d in account.deliveries if d.change.event == event], "live")
        for event in (*EVENTS, *sorted({event for _, event in account.found} - set(EVENTS)))
    }
    total = figures(account.deliveries, "live")
    for (kind, event), number in account.found.items():
        for line in (by_event[event], total):
            column = COLUMNS.get(kind, "wrong")
            line[column] = number + (line[column] or 0)
    kinds = dict.fromkeys(owed.change.tag for owed in account.deliveries)
    problems = [*problems]
    if account.retries != ledger.refused:
        problems.append(f"{account.retries} retries; {ledger.refused} POSTs were refused")
    # Later changes came at the same webhooks, and nothing of what was rolled back.
    proven = not problems and not {"lost", "rolled back"} & account.counts.keys()
    return {
        "ok": proven and account.owed > 0 and not account.found,
        "version": __version__,
        "total": total,
        "events": by_event,
        "kinds": {
            kind: figures([d for d in account.deliveries if d.change.tag == kind]) for kind in kinds
        },
        "rollback": {"forbidden": ledger.wanted(committed=False), "proven": proven},
        "problems": problems,
        "faults": [
            {"kind": v.kind, "text": f"webhook {v.webhook + 1}, {v.text}"}
            for v in account.violations
        ],
    }


def figures(owed: Sequence[OwedDelivery], timed: str = "") -> Figures:
    """How many are expected and were received, and the latency from COMMIT to receipt.

    timed: the tag of the changes whose latencies count; empty: all.
    """
    came = [(d.first - d.change.done, d.change.tag) for d in owed if d.first is not None]
    took = sorted(seconds for seconds, tag in came if timed in ("", tag))
    return {
        **{"expected": len(owed), "received": len(came), "missing": 0, "wrong": 0, "repeated": 0},
        **{"p50_ms": percentile(took, 0.5), "p99_ms": percentile(took, 0.99)},
    }


def percentile(sorted_seconds: Sequence[float], share: float) -> float | None:
    """The milliseconds that the given share (0 to 1) of the deliveries kept within."""
    place = math.ceil(share * len(sorted_seconds)) - 1
    return round(sorted_seconds[place] * 1000, 3) if sorted_seconds else None
