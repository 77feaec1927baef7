"""How the demo ended, as `--json` prints it: the account of what was owed and what came."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from cdc import __version__
from cdc.sandbox.account import Account, OwedDelivery, percentile
from cdc.sandbox.demo.protocol import EVENTS

TIMED = ("live", "steady")
"""Tags of changes of one row each at a receiver that accepts: those whose latencies count."""

Report = dict[str, Any]


def report(account: Account, refused: int, problems: Sequence[str]) -> Report:
    """All that is to be said.

    refused:  POSTs that the receiver answered with a failure on purpose.
    problems: what is wrong apart from the deliveries: the daemon ended, a scene did not.
    """
    problems = [*problems]
    if account.retries != refused:
        problems.append(f"{account.retries} retries; {refused} POSTs were refused")
    # Later changes came at the same webhooks, and nothing of what was rolled back.
    proven = not problems and not {"lost", "rolled back"} & account.counts.keys()
    events = {e: [d for d in account.deliveries if d.change.event == e] for e in EVENTS}
    return {
        "ok": proven and account.owed > 0 and not account.found,
        "version": __version__,
        "total": figures(account.deliveries),
        "events": {event: figures(owed) for event, owed in events.items()},
        "found": account.counts,
        "faults": [
            {"kind": v.kind, "text": f"webhook {v.webhook + 1}, {v.text}"}
            for v in account.violations
        ],
        "rollback": {"forbidden": account.rolled_back, "proven": proven},
        "problems": problems,
    }


def figures(owed: Sequence[OwedDelivery]) -> dict[str, int | float | None]:
    took = latencies(owed, *TIMED)
    return {
        **{"expected": len(owed), "received": sum(d.first is not None for d in owed)},
        **{"p50_ms": percentile_of(took, 0.5), "p99_ms": percentile_of(took, 0.99)},
    }


def latencies(owed: Iterable[OwedDelivery], *tags: str) -> list[float]:
    """Milliseconds from COMMIT to the receipt, in order of size, of changes of these tags."""
    came = [(d.first, d.change) for d in owed if d.first is not None]
    return sorted((first - change.done) * 1000 for first, change in came if change.tag in tags)


def percentile_of(took: Sequence[float], share: float) -> float | None:
    return round(percentile(took, share), 3) if took else None
