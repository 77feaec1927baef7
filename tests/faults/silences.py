"""How long webhooks that were owed something got nothing."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from cdc.sandbox.records import Arrival, Change, Hook


class Silence(NamedTuple):
    """How long a webhook that was owed something got nothing after a moment."""

    webhook: int
    seconds: float


def silences(
    changes: Sequence[Change],
    requests: Sequence[Arrival],
    hooks: Sequence[Hook],
    moments: Sequence[float],
) -> list[list[Silence]]:
    """For each moment the webhooks that were owed something then, and how long they waited for the
    next request.

    What had reached the receiver then, and was answered well, is owed no more, though the answer
    came later: there may be nothing else to send for half a minute.
    """
    out: list[list[Silence]] = [[] for _ in moments]
    committed: dict[tuple[str, str], list[Change]] = defaultdict(list)
    for change in changes:
        if change.committed:
            committed[change.company, change.event].append(change)
    came: dict[int, list[Arrival]] = defaultdict(list)
    for request in sorted(requests, key=lambda request: request.ended):
        came[request.webhook].append(request)
    for hook in hooks:
        mine = [change for event in hook.events for change in committed[hook.company, event]]
        dues = sorted(change.done for change in mine if hook.wants(change))
        seen: set[str] = set()
        reached = []  # when the requests that were answered well were received
        for request in came[hook.number]:
            if 200 <= request.status < 300 and request.uid not in seen:
                seen.add(request.uid)
                reached.append(request.received)
        reached.sort()
        receipts = sorted(request.received for request in came[hook.number])
        for place, moment in enumerate(moments):
            following = bisect_left(receipts, moment)
            if bisect_left(dues, moment) > bisect_left(reached, moment) and (
                following < len(receipts)
            ):
                out[place].append(Silence(hook.number, receipts[following] - moment))
    return out
