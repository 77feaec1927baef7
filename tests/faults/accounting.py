"""The account: what arrived, held against what was committed. Pure functions over records.

What must hold, for each webhook:

* lost:        every committed change was answered 2xx, unless its row is rejected for ever.
* unowed:      nothing arrives that was not committed (rolled back, another company's, unknown).
* identity:    a change has one webhook-id, and an id one change.
* overtaken:   per row, a change first comes after the one before is final: answered 2xx, or refused
               as often as makes it dead.
* overlapping: per row, no two changes are under way for the first time at once.
* unverified:  every signature is right.

A daemon that is killed or stopped may have sent what it could not record: its successor sends that
again, under the same id. Such repeats are counted apart, and so is a repeat that overlaps with
another request of its row; both are violations where nothing was disturbed, and no daemon told of
anything amiss, shortly before.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.faults.ledger import Change
from tests.faults.records import Request

# A repeat follows the fault that caused it: a stalled owner is given up after 5 s, its attempts
# take up to 4 s, a new process some seconds, and a retried delivery waits for its turn.
SHADOW = 20.0
SHOWN = 20  # violations of a kind that are described; all are counted

Row = tuple[str, str]  # event and key


@dataclass(frozen=True, slots=True)
class Hook:
    """A registered webhook, as the account needs it."""

    number: int
    company: str
    events: frozenset[str]


class Violation(NamedTuple):
    """Something that must not be; times are monotonic seconds."""

    kind: str
    webhook: int
    text: str


@dataclass(slots=True)
class Account:
    """The result.

    owed:        deliveries that the ledger asks for, without those rejected for ever.
    delivered:   of these, how many were answered 2xx.
    rejected:    deliveries owed to a receiver that refuses their row for ever.
    retries:     requests of deliveries that had not been answered 2xx before.
    repeats:     requests of deliveries that had been.
    overlapping: repeats that overlapped with another request of their row.
    rolled_back: changes that must not come, and did not.
    """

    owed: int = 0
    delivered: int = 0
    rejected: int = 0
    requests: int = 0
    retries: int = 0
    repeats: int = 0
    overlapping: int = 0
    rolled_back: int = 0
    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    violations: list[Violation] = field(default_factory=list)

    def wrong(self, kind: str, webhook: int, text: str) -> None:
        self.counts[kind] += 1
        if self.counts[kind] <= SHOWN:
            self.violations.append(Violation(kind, webhook, text))


class Disturbances:
    """When something was disturbed that may cause repeats: spans of monotonic seconds."""

    def __init__(self, spans: Iterable[tuple[float, float]]) -> None:
        self._spans = sorted(spans)

    def before(self, moment: float) -> bool:
        """Whether one began before this moment and ended less than SHADOW seconds before it."""
        return any(begin <= moment < end + SHADOW for begin, end in self._spans)


def account(
    changes: Iterable[Change],
    requests: Iterable[Request],
    hooks: Sequence[Hook],
    disturbances: Disturbances,
    rejected: frozenset[tuple[int, str, str]] = frozenset(),
    budget: int = 1,
) -> Account:
    """Holds the two against each other.

    rejected: webhook, event and key of rows that the receiver refuses for ever.
    budget:   attempts after which a delivery is dead.
    """
    result = Account()
    rows: dict[tuple[str, Row], list[Change]] = defaultdict(list)
    for change in changes:
        rows[change.company, (change.event, change.key)].append(change)
        result.rolled_back += not change.committed
    for line in rows.values():
        line.sort(key=lambda change: change.since)
    came: dict[tuple[int, Row], list[Request]] = defaultdict(list)
    for request in requests:
        result.requests += 1
        came[request.webhook, (request.event, request.key)].append(request)
    uids: dict[str, tuple[int, Row, int]] = {}
    known = {hook.number: hook for hook in hooks}
    for (company, row), line in rows.items():
        for hook in hooks:
            if hook.company == company and row[0] in hook.events:
                got = came.pop((hook.number, row), [])
                final = budget if (hook.number, *row) in rejected else 0
                _Line(result, hook, row, line, uids, disturbances, final).check(got)
    for (number, row), strays in came.items():
        hook = known[number]
        for stray in strays:
            result.wrong("unowed", hook.number, f"{_row(row)}: nobody owes {stray.uid}")
    return result


class _Line:
    """One row's changes at one webhook."""

    def __init__(
        self,
        result: Account,
        hook: Hook,
        row: Row,
        changes: list[Change],
        uids: dict[str, tuple[int, Row, int]],
        disturbances: Disturbances,
        budget: int,
    ) -> None:
        self.result = result
        self.number = hook.number
        self.company = hook.company
        self.row = row
        self.changes = changes
        self.begins = [change.since for change in changes]
        self.uids = uids
        self.disturbances = disturbances
        self.budget = budget  # 0: the row is not rejected

    def check(self, got: list[Request]) -> None:
        got.sort(key=lambda request: request.received)
        tries: dict[int, list[Request]] = defaultdict(list)  # by place of the change in the line
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
            final = self._final(change, mine)

    def _place(self, request: Request) -> int | None:
        """Which change of the line a request tells of."""
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
        if self.uids.setdefault(request.uid, owner) != owner:
            self.wrong("identity", f"{request.uid} is {_change(change)} and another one")
        return place

    def _final(self, change: Change, tries: list[Request]) -> float | None:
        """When the change was final, None if it never was. Counts it."""
        result = self.result
        if len({request.uid for request in tries}) > 1:
            self.wrong("identity", f"{_change(change)} came under two ids: {tries[0].uid}, ...")
        if self.budget:
            result.rejected += 1
            refused = sorted(request.ended for request in tries)
            return refused[self.budget - 1] if len(refused) >= self.budget else None
        result.owed += 1
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

    def _overlaps(self, tries: dict[int, list[Request]]) -> None:
        """Which requests were under way at the same time.

        A daemon that is stopped keeps its request open; its successor sends the same again and goes
        on. That is no violation as long as the change was final before the next one came.
        """
        finals = {
            place: min((r.ended for r in line if 200 <= r.status < 300), default=float("inf"))
            for place, line in tries.items()
        }
        requests = [(place, request) for place, line in tries.items() for request in line]
        requests.sort(key=lambda entry: entry[1].received)
        seen: set[int] = set()
        last: tuple[int, Request, bool] | None = None  # the one that is under way the longest
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
        self.result.wrong(kind, self.number, f"{_row(self.row)}: {text}")


class Silence(NamedTuple):
    """How long a webhook that was owed something got nothing after a moment."""

    webhook: int
    seconds: float


def silences(
    changes: Sequence[Change],
    requests: Sequence[Request],
    hooks: Sequence[Hook],
    moments: Sequence[float],
) -> list[list[Silence]]:
    """For each moment the webhooks that were owed something then, and how long they waited for the
    next request."""
    out: list[list[Silence]] = [[] for _ in moments]
    committed: dict[tuple[str, str], list[float]] = defaultdict(list)
    for change in changes:
        if change.committed:
            committed[change.company, change.event].append(change.done)
    came: dict[int, list[Request]] = defaultdict(list)
    for request in sorted(requests, key=lambda request: request.ended):
        came[request.webhook].append(request)
    for hook in hooks:
        dues = sorted(t for event in hook.events for t in committed[hook.company, event])
        seen: set[str] = set()
        finals = []
        for request in came[hook.number]:
            if 200 <= request.status < 300 and request.uid not in seen:
                seen.add(request.uid)
                finals.append(request.ended)
        receipts = sorted(request.received for request in came[hook.number])
        for place, moment in enumerate(moments):
            following = bisect_left(receipts, moment)
            if bisect_left(dues, moment) > bisect_left(finals, moment) and (
                following < len(receipts)
            ):
                out[place].append(Silence(hook.number, receipts[following] - moment))
    return out


def _row(row: Row) -> str:
    return f"{row[0]} of {row[1]}"


def _change(change: Change) -> str:
    return f"version {change.version} ({change.action})"
