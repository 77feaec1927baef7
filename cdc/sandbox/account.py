"""The account: what writers committed, held against what arrived. Pure functions over records.

Shared by the demo, the benchmark and the fault runs. What must hold, for each webhook:

* lost:        every committed change was answered 2xx, unless its row is rejected for ever.
* unowed:      nothing arrives that was not committed (another company's, unknown, never written).
* rolled back: ... and nothing of what was rolled back.
* identity:    a change has one webhook-id, and an id one change.
* overtaken:   per row, a change first comes after the one before is final: answered 2xx, or refused
               as often as makes it dead.
* overlapping: per row, no two changes are in flight for the first time at once.
* altered:     a request is what is owed, byte for byte, and so is each retry.
* unverified:  every signature is right.
* late:        the first request comes in time.

A daemon that is killed or stopped may have sent what it could not record: its successor sends that
again, under the same id. Such repeats are counted apart, and so is a repeat that overlaps with
another request of its row; both are violations where nothing was disturbed, and no daemon reported
anything amiss, shortly before.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

from cdc.sandbox.records import Arrival, Change, Hook

# A repeat follows the fault that caused it: a stalled owner is given up after 5 s, its attempts
# take up to 4 s, a new process some seconds, and a retried delivery waits for its turn.
SHADOW = 20.0
VIOLATIONS_DESCRIBED = 20  # violations of a kind that are described; all are counted

Row = tuple[str, str]  # event and key


class Violation(NamedTuple):
    """Something that must not be."""

    kind: str
    webhook: int
    event: str
    text: str


class OwedDelivery(NamedTuple):
    """What is owed to one webhook. first: when its first request came, None if none did."""

    webhook: int
    change: Change
    first: float | None


@dataclass(slots=True)
class Account:
    """The result.

    owed:        deliveries that the ledger asks for, without those rejected for ever.
    deliveries:  each of them.
    delivered:   of these, how many were answered 2xx.
    rejected:    deliveries owed to a receiver that refuses their row for ever.
    retries:     requests of deliveries that had not been answered 2xx before.
    repeats:     requests of deliveries that had been.
    overlapping: repeats that overlapped with another request of their row.
    rolled_back: changes that must not come, and did not.
    found:       violations by kind and event.
    """

    owed: int = 0
    deliveries: list[OwedDelivery] = field(default_factory=list)
    delivered: int = 0
    rejected: int = 0
    requests: int = 0
    retries: int = 0
    repeats: int = 0
    overlapping: int = 0
    rolled_back: int = 0
    found: Counter[tuple[str, str]] = field(default_factory=Counter)
    violations: list[Violation] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        """Violations by kind."""
        counts: Counter[str] = Counter()
        for (kind, _), number in self.found.items():
            counts[kind] += number
        return dict(counts)

    def wrong(self, kind: str, webhook: int, event: str, text: str) -> None:
        self.found[kind, event] += 1
        if sum(n for (of, _), n in self.found.items() if of == kind) <= VIOLATIONS_DESCRIBED:
            self.violations.append(Violation(kind, webhook, event, text))


class Disturbances:
    """When something was disturbed that may cause repeats: spans of monotonic seconds."""

    def __init__(self, spans: Iterable[tuple[float, float]]) -> None:
        self._spans = sorted(spans)

    def before(self, moment: float) -> bool:
        """Whether one began before this moment and ended less than SHADOW seconds before it."""
        return any(begin <= moment < end + SHADOW for begin, end in self._spans)


CALM = Disturbances([])


def account(
    changes: Iterable[Change],
    requests: Iterable[Arrival],
    hooks: Sequence[Hook],
    disturbances: Disturbances = CALM,
    rejected: frozenset[tuple[int, str, str]] = frozenset(),
    budget: int = 1,
    late_after: float = inf,
) -> Account:
    """Holds the two against each other.

    rejected:   webhook, event and key of rows that the receiver refuses for ever.
    budget:     attempts after which a delivery is dead.
    late_after: seconds from COMMIT to the first request.
    """
    result = Account()
    rows: dict[tuple[str, Row], list[Change]] = defaultdict(list)
    for change in changes:
        rows[change.company, (change.event, change.key)].append(change)
        result.rolled_back += not change.committed
    for line in rows.values():
        line.sort(key=lambda change: change.since)
    came: dict[tuple[int, Row], list[Arrival]] = defaultdict(list)
    for request in requests:
        result.requests += 1
        came[request.webhook, (request.event, request.key)].append(request)
    wanting: dict[tuple[str, str], list[Hook]] = defaultdict(list)
    for hook in hooks:
        for event in hook.events:
            wanting[hook.company, event].append(hook)
    shared = _Shared(result, {}, disturbances, late_after)
    for (company, row), line in rows.items():
        for hook in wanting[company, row[0]]:
            final = budget if (hook.number, *row) in rejected else 0
            wanted = [change for change in line if hook.wants(change)]
            _Line(shared, hook, row, wanted, final).check(came.pop((hook.number, row), []))
    for (number, row), strays in came.items():
        for stray in strays:
            text = f"{_row(row)}: no change owes {stray.uid} {stray.altered}".rstrip()
            result.wrong("unowed", number, row[0], text)
    return result


class _Shared(NamedTuple):
    """What the lines of all rows have in common. uids: which change each webhook-id is of."""

    result: Account
    uids: dict[str, tuple[int, Row, int]]
    disturbances: Disturbances
    late_after: float


class _Line:
    """One row's changes at one webhook. budget: 0 where the row is not rejected."""

    def __init__(
        self, shared: _Shared, hook: Hook, row: Row, changes: list[Change], budget: int
    ) -> None:
        self.result, self.uids, self.disturbances, self.late_after = shared
        self.number = hook.number
        self.company = hook.company
        self.row = row
        self.changes = changes
        self.begins = [change.since for change in changes]
        self.budget = budget

    def check(self, got: list[Arrival]) -> None:
        got.sort(key=lambda request: request.received)
        tries: dict[int, list[Arrival]] = defaultdict(list)  # by place of the change in the line
        for request in got:
            if request.problem:
                self.wrong("unverified", f"{request.uid}: {request.problem}")
            place = self._place(request)
            if place is not None:
                tries[place].append(request)
        self._overlaps(tries)
        final: float | None = 0.0
        for place, change in enumerate(self.changes):
            if not change.committed:
                continue
            mine = tries.get(place, [])
            if mine and (final is None or mine[0].received < final):
                self.wrong(
                    "overtaken",
                    f"{_change(change)} came at {mine[0].received:.6f}, but the one before "
                    + ("never was final" if final is None else f"was final at {final:.6f}"),
                )
            self._compare(change, mine)
            final = self._final(change, mine)

    def _place(self, request: Arrival) -> int | None:
        """Which change of the line a request is of."""
        place = bisect_right(self.begins, request.time) - 1
        change = self.changes[place] if place >= 0 else None
        if change is None or request.time > change.until:
            self.wrong("unowed", f"{request.uid}: no statement wrote it at {request.time}")
            return None
        if not change.committed:
            self.wrong("rolled back", f"{_change(change)} was rolled back, {request.uid} came")
            return None
        if (request.action, request.company) != (change.action, change.company):
            self.wrong("unowed", f"{_change(change)} came as {request.action} ({request.uid})")
            return None
        owner = (self.number, self.row, place)
        # A sender of the benchmark that has no ids is not taken for one that has the same for all.
        if request.uid and self.uids.setdefault(request.uid, owner) != owner:
            self.wrong("identity", f"{request.uid} is {_change(change)} and another one")
        return place

    def _compare(self, change: Change, tries: list[Arrival]) -> None:
        """Bytes and time."""
        for request in tries:
            if request.altered:
                self.wrong("altered", f"{_change(change)}: {request.altered}")
            elif request.digest != tries[0].digest:
                self.wrong("altered", f"{_change(change)}: a retry has other bytes ({request.uid})")
        if tries and tries[0].received - change.done > self.late_after:
            took = tries[0].received - change.done
            self.wrong("late", f"{_change(change)} came {took:.1f} s after its COMMIT")

    def _final(self, change: Change, tries: list[Arrival]) -> float | None:
        """When the change was final, None if it never was. Counts it."""
        result = self.result
        if len({request.uid for request in tries}) > 1:
            self.wrong("identity", f"{_change(change)} came under two ids: {tries[0].uid}, ...")
        if self.budget:
            result.rejected += 1
            refused = sorted(request.ended for request in tries)
            return refused[self.budget - 1] if len(refused) >= self.budget else None
        result.owed += 1
        first = tries[0].received if tries else None
        result.deliveries.append(OwedDelivery(self.number, change, first))
        good = [request.ended for request in tries if 200 <= request.status < 300]
        if not good:
            seen = ", ".join(f"{r.received:.3f}: {r.status}" for r in tries[-5:]) or "never sent"
            self.wrong("lost", f"{_change(change)}, committed at {change.done:.3f}; {seen}")
            return None
        result.delivered += 1
        final = min(good)
        for request in tries[1:]:
            if request.received <= final:
                result.retries += 1
                continue
            result.repeats += 1
            if not self.disturbances.before(request.received):
                self.wrong(
                    "repeated without a cause",
                    f"{_change(change)} at {request.received:.3f}, final at {final:.3f}",
                )
        return final

    def _overlaps(self, tries: dict[int, list[Arrival]]) -> None:
        """Which requests were in flight at the same time.

        A daemon that is stopped keeps its request open; its successor sends the same again and goes
        on. That is allowed as long as the change was final before the next one came.
        """
        finals = {
            place: min((r.ended for r in line if 200 <= r.status < 300), default=inf)
            for place, line in tries.items()
        }
        requests = [(place, request) for place, line in tries.items() for request in line]
        requests.sort(key=lambda entry: entry[1].received)
        seen: set[int] = set()
        last: tuple[int, Arrival, bool] | None = None  # the one that is in flight the longest
        for place, request in requests:
            first = place not in seen
            seen.add(place)
            if last is not None and request.received < last[1].ended:
                at = f"{_change(self.changes[place])} at {request.received:.6f}, while "
                at += f"{_change(self.changes[last[0]])} ended only at {last[1].ended:.6f}"
                if first and last[2] and finals[last[0]] > request.received:
                    self.wrong("overlapping", at)
                elif self.disturbances.before(request.received):
                    self.result.overlapping += 1
                else:
                    self.wrong("overlapping without a cause", at)
            if last is None or request.ended >= last[1].ended:
                last = (place, request, first)

    def wrong(self, kind: str, text: str) -> None:
        self.result.wrong(kind, self.number, self.row[0], f"{_row(self.row)}: {text}")


def percentile(sorted_values: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` of all are at or below.

    Raises ValueError where there is none.
    """
    if not sorted_values:
        raise ValueError("there is no value")
    return sorted_values[max(0, -int(-len(sorted_values) * share // 1) - 1)]


def _row(row: Row) -> str:
    return f"{row[0]} of {row[1]}"


def _change(change: Change) -> str:
    return f"version {change.version} ({change.action})"
