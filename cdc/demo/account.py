"""The account: what the ledger says was owed against what arrived. Pure.

Strict on purpose: a POST that differs in one byte, comes once too often, too late or before an
older change of its row is a fault, and so is one that nobody is owed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from cdc.demo import protocol
from cdc.demo.ledger import Entry, Kind
from cdc.receiver import Received

LATE_AFTER = 30.0
"""Seconds from COMMIT to receipt beyond which a delivery counts as wrong."""

FaultKind = Literal["missing", "wrong", "order", "repeated", "unexpected", "rolled back"]


@dataclass(frozen=True, slots=True)
class Fault:
    """event: empty when it cannot be told."""

    kind: FaultKind
    event: str
    text: str


@dataclass(slots=True)
class Arrival:
    """All attempts of one delivery: the POSTs with one webhook-id at one path, as they came."""

    attempts: list[Received]
    entry: Entry | None = None

    @property
    def first(self) -> Received:
        return self.attempts[0]

    @property
    def latency(self) -> float | None:
        """Seconds from just before COMMIT to the last byte of the first attempt."""
        if self.entry is None or self.entry.statement.commit is None:
            return None
        return self.first.clock - self.entry.statement.commit


@dataclass(slots=True)
class Line:
    """One line of the closing table.

    received:  deliveries that came, right or wrong.
    wrong:     deliveries that were not as owed, or owed to nobody.
    repeated:  POSTs beyond the attempts that the receiver's own answers called for.
    latencies: seconds from commit to receipt, sorted.
    """

    expected: int = 0
    received: int = 0
    missing: int = 0
    wrong: int = 0
    repeated: int = 0
    latencies: list[float] = field(default_factory=list)

    def percentile(self, share: float) -> float | None:
        """The latency that the given share (0 to 1) of deliveries kept within."""
        if not self.latencies:
            return None
        return self.latencies[max(0, -int(-share * len(self.latencies) // 1) - 1)]


@dataclass(slots=True)
class Account:
    """events: by event, in the protocol's order, ``""`` for what names none; latencies are those of
    live changes. kinds: the same by kind of entry, with the latencies of that kind.
    """

    arrivals: list[Arrival] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    total: Line = field(default_factory=Line)
    events: dict[str, Line] = field(default_factory=dict)
    kinds: dict[Kind, Line] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return not self.faults

    def count(self, kind: FaultKind) -> int:
        return sum(fault.kind == kind for fault in self.faults)


def draw_up(
    entries: Sequence[Entry],
    forbidden: Sequence[Entry],
    received: Iterable[Received],
    *,
    late_after: float = LATE_AFTER,
) -> Account:
    """Compares everything that was owed with everything that came.

    received: in the order of their coming.
    """
    account = Account(arrivals=_gather(received))
    _match(account.arrivals, entries, forbidden)
    for entry in _unmatched(account.arrivals, entries):
        account.faults.append(Fault("missing", entry.event, f"never came: {entry}"))
    for arrival in account.arrivals:
        if arrival.entry is None:
            account.faults.append(_stranger(arrival, forbidden))
        else:
            account.faults += _faults(arrival, arrival.entry, late_after)
    account.faults += _ids_used_twice(account.arrivals)
    account.faults += _out_of_order(account.arrivals)
    _count(account, entries)
    return account


def _gather(received: Iterable[Received]) -> list[Arrival]:
    found: dict[tuple[str, str], Arrival] = {}
    nameless: list[Arrival] = []
    for got in received:
        if not got.uid:
            nameless.append(Arrival([got]))
        elif (key := (got.path, got.uid)) in found:
            found[key].attempts.append(got)
        else:
            found[key] = Arrival([got])
    return [*found.values(), *nameless]


def _match(
    arrivals: Sequence[Arrival], entries: Sequence[Entry], forbidden: Sequence[Entry]
) -> None:
    """Finds the entry of each arrival: by exact body and time, else by whatever fits best."""
    by_body: dict[bytes, list[Entry]] = defaultdict(list)
    for entry in entries:
        by_body[_timeless(entry)].append(entry)
    rest: list[Arrival] = []
    for arrival in arrivals:
        candidates = _candidates(arrival, by_body)
        arrival.entry = next((e for e in candidates if _in_time(arrival, e)), None)
        if arrival.entry is not None:
            candidates.remove(arrival.entry)
        else:
            rest.append(arrival)
    for arrival in rest:
        # Better no match than to take what was rolled back for something else.
        if _rolled_back(arrival, forbidden) is None and (same := _candidates(arrival, by_body)):
            arrival.entry = same.pop(0)
    left = [entry for same in by_body.values() for entry in same]
    for arrival in rest:
        if arrival.entry is None and _rolled_back(arrival, forbidden) is None:
            arrival.entry = next((e for e in left if _resembles(arrival, e)), None)
            if arrival.entry is not None:
                left.remove(arrival.entry)


def _candidates(arrival: Arrival, by_body: dict[bytes, list[Entry]]) -> list[Entry]:
    parts = protocol.split(arrival.first.body)
    same = by_body.get(parts[0], []) if parts else []
    return same if same and same[0].hook.path == arrival.first.path else []


def _timeless(entry: Entry) -> bytes:
    return entry.body("")


def _in_time(arrival: Arrival, entry: Entry) -> bool:
    parts = protocol.split(arrival.first.body)
    if parts is None:
        return False
    ended = entry.statement.ended or arrival.first.at
    return entry.statement.began <= parts[1] <= min(ended, arrival.first.at)


def _resembles(arrival: Arrival, entry: Entry) -> bool:
    body = arrival.first.body
    return (
        arrival.first.path == entry.hook.path
        and b'"%s"' % entry.event.encode() in body
        and b'"%s"' % entry.row.url.encode() in body
    )


def _rolled_back(arrival: Arrival, forbidden: Sequence[Entry]) -> Entry | None:
    parts = protocol.split(arrival.first.body)
    for entry in forbidden:
        if (
            parts is not None
            and arrival.first.path == entry.hook.path
            and parts[0] == _timeless(entry)
            and _in_time(arrival, entry)
        ):
            return entry
    return None


def _unmatched(arrivals: Sequence[Arrival], entries: Sequence[Entry]) -> list[Entry]:
    matched = {arrival.entry.number for arrival in arrivals if arrival.entry is not None}
    return [entry for entry in entries if entry.number not in matched]


def _stranger(arrival: Arrival, forbidden: Sequence[Entry]) -> Fault:
    entry = _rolled_back(arrival, forbidden)
    if entry is not None:
        return Fault("rolled back", entry.event, f"was rolled back and came all the same: {entry}")
    event = next((e for e in protocol.EVENTS if f'"{e}"'.encode() in arrival.first.body), "")
    return Fault("unexpected", event, f"nobody is owed this: {_shown(arrival.first)}")


def _faults(arrival: Arrival, entry: Entry, late_after: float) -> Iterable[Fault]:
    first = arrival.first
    for got in arrival.attempts:
        for problem in _improper(got):
            yield Fault("wrong", entry.event, f"{entry}: {problem}")
        if got.body != first.body:
            yield Fault("wrong", entry.event, f"{entry}: a retry has other bytes than the first try")
    parts = protocol.split(first.body)
    if parts is None or parts[0] != _timeless(entry):
        owed = entry.body("<time>").decode()
        yield Fault("wrong", entry.event, f"{entry}: owed was {owed}, but {_shown(first)} came")
    elif not _in_time(arrival, entry):
        began, ended = entry.statement.began, entry.statement.ended
        yield Fault(
            "wrong",
            entry.event,
            f"{entry}: its time {parts[1]} does not lie within its statement ({began} to {ended})",
        )
    if arrival.latency is not None and arrival.latency > late_after:
        late = f"came {arrival.latency:.1f} s after its COMMIT"
        yield Fault("wrong", entry.event, f"{entry}: {late}")
    answers = tuple(got.status for got in arrival.attempts)
    if answers != entry.answers:
        if len(answers) > len(entry.answers):
            extra = len(answers) - len(entry.answers)
            yield Fault("repeated", entry.event, f"{entry}: came {extra} times too often")
        elif len(answers) < len(entry.answers):
            yield Fault(
                "missing", entry.event, f"{entry}: was answered {answers[-1]} and not tried again"
            )
        else:
            yield Fault(
                "wrong",
                entry.event,
                f"{entry}: was answered {_list(answers)} instead of {_list(entry.answers)}",
            )


def _improper(got: Received) -> Iterable[str]:
    if not got.verified:
        yield f"not verified: {got.problem}"
    if got.method != protocol.METHOD:
        yield f"came by {got.method}"
    for name, value in protocol.HEADERS.items():
        if got.headers.get(name) != value:
            yield f"header {name} is {got.headers.get(name)!r}, not {value!r}"


def _ids_used_twice(arrivals: Sequence[Arrival]) -> Iterable[Fault]:
    seen: set[str] = set()
    for arrival in arrivals:
        uid = arrival.first.uid
        if uid in seen:
            yield Fault("wrong", "", f"webhook-id {uid} names deliveries at two webhooks")
        elif uid:
            seen.add(uid)


def _out_of_order(arrivals: Sequence[Arrival]) -> Iterable[Fault]:
    """Per webhook and row: an older change must have been answered for good before the next comes."""
    before: dict[tuple[str, str], Arrival] = {}
    for arrival in arrivals:
        entry = arrival.entry
        if entry is None:
            continue
        older = before.get(entry.resource)
        before[entry.resource] = arrival
        if older is None or older.entry is None:
            continue
        if older.entry.number > entry.number:
            yield Fault("order", entry.event, f"{entry}: came after a later change of the same row")
        elif arrival.first.clock < older.attempts[-1].clock:
            yield Fault(
                "order", entry.event, f"{entry}: came before an older change had been accepted"
            )


def _count(account: Account, entries: Sequence[Entry]) -> None:
    for name in protocol.EVENTS:
        account.events[name] = Line()
    for entry in entries:
        for line in _lines(account, entry.event, entry.kind):
            line.expected += 1
    bad: set[int] = set()
    for number, arrival in enumerate(account.arrivals):
        entry = arrival.entry
        event = entry.event if entry is not None else _stranger(arrival, ()).event
        lines = _lines(account, event, entry.kind if entry is not None else None)
        for line in lines:
            line.received += 1
        if entry is None:
            bad.add(number)
            continue
        latency = arrival.latency
        if latency is not None:
            account.kinds[entry.kind].latencies.append(latency)
            if entry.kind == "live":
                account.events[entry.event].latencies.append(latency)
                account.total.latencies.append(latency)
    for fault in account.faults:
        for line in (account.total, account.events.setdefault(fault.event, Line())):
            if fault.kind == "missing":
                line.missing += 1
            elif fault.kind == "repeated":
                line.repeated += 1
            else:
                line.wrong += 1
    for line in (account.total, *account.events.values(), *account.kinds.values()):
        line.latencies.sort()


def _lines(account: Account, event: str, kind: Kind | None) -> list[Line]:
    lines = [account.total, account.events.setdefault(event, Line())]
    if kind is not None:
        lines.append(account.kinds.setdefault(kind, Line()))
    return lines


def _shown(got: Received) -> str:
    return f"{got.method} {got.path} {got.body[:600].decode(errors='replace')}"


def _list(answers: Sequence[int | None]) -> str:
    return ", ".join(str(answer) for answer in answers)
