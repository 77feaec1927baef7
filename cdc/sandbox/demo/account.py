"""The account: what the ledger says was owed against what arrived. Pure.

Strict on purpose: a POST that differs in one byte, comes once too often, too late or before an
older change of its row is a fault, and so is one that nobody is owed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from cdc.sandbox.demo import protocol
from cdc.sandbox.demo.arrivals import Arrival, Fault, FaultKind, gather, in_time, match, timeless
from cdc.sandbox.demo.ledger import Entry, Kind
from cdc.sandbox.receiver import Received

LATE_AFTER = 30.0
"""Seconds from COMMIT to receipt beyond which a delivery counts as wrong."""


@dataclass(slots=True)
class Line:
    """One line of the closing table.

    received:  deliveries that came, right or wrong.
    missing:   deliveries that never came, or came and were not accepted in the end.
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
        """The latency that the given share (0 to 1) of the deliveries kept within."""
        if not self.latencies:
            return None
        return self.latencies[max(0, math.ceil(share * len(self.latencies)) - 1)]


@dataclass(slots=True)
class Account:
    """events: by event in the protocol's order, ``""`` for what names none; their latencies, and
            the total's, are those of live changes only.
    kinds:  by kind of entry, with the latencies of that kind.
    """

    arrivals: list[Arrival] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    total: Line = field(default_factory=Line)
    events: dict[str, Line] = field(default_factory=dict)
    kinds: dict[Kind, Line] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return not self.faults

    def count(self, *kinds: FaultKind) -> int:
        return sum(fault.kind in kinds for fault in self.faults)

    def lines(self, event: str, kind: Kind | None) -> list[Line]:
        """The lines in which a delivery counts."""
        lines = [self.total, self.events.setdefault(event, Line())]
        return lines if kind is None else [*lines, self.kinds.setdefault(kind, Line())]


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
    account = Account(arrivals=gather(received))
    account.events = {event: Line() for event in protocol.EVENTS}
    missing = match(account.arrivals, entries, forbidden)
    for arrival in account.arrivals:
        arrival.faults += _faults(arrival, late_after)
    _same_id_elsewhere(account.arrivals)
    _out_of_order(account.arrivals)
    for entry in entries:
        for line in account.lines(entry.event, entry.kind):
            line.expected += 1
    for entry in missing:
        account.faults.append(Fault("missing", f"never came: {entry}"))
        for line in account.lines(entry.event, entry.kind):
            line.missing += 1
    for arrival in account.arrivals:
        account.faults += arrival.faults
        _count(account, arrival)
    for line in (account.total, *account.events.values(), *account.kinds.values()):
        line.latencies.sort()
    return account


def _faults(arrival: Arrival, late_after: float) -> Iterable[Fault]:
    entry, first = arrival.entry, arrival.first
    if arrival.forbidden is not None:
        told = f"was rolled back and came all the same: {arrival.forbidden}"
        yield Fault("rolled back", told)
        return
    if entry is None:
        yield Fault("unexpected", f"nobody is owed this: {_shown(first)}")
        return
    for problem in _problems(arrival, entry):
        yield Fault("wrong", f"{entry}: {problem}")
    if arrival.latency is not None and arrival.latency > late_after:
        yield Fault("wrong", f"{entry}: came {arrival.latency:.1f} s after its COMMIT")
    answers = tuple(got.status for got in arrival.attempts)
    if len(answers) > len(entry.answers):
        extra = len(answers) - len(entry.answers)
        yield Fault("repeated", f"{entry}: {extra} POSTs more than its answers called for")
    elif len(answers) < len(entry.answers):
        yield Fault("missing", f"{entry}: was answered {answers[-1]} and did not come again")
    elif answers != entry.answers:
        yield Fault("wrong", f"{entry}: was answered {answers}; planned was {entry.answers}")


def _problems(arrival: Arrival, entry: Entry) -> Iterable[str]:
    first = arrival.first
    for got in arrival.attempts:
        if not got.verified:
            yield f"not verified: {got.problem}"
        if got.method != protocol.METHOD:
            yield f"came by {got.method}"
        for name, value in protocol.HEADERS.items():
            if got.headers.get(name) != value:
                yield f"header {name} is {got.headers.get(name)!r}, not {value!r}"
        if got.body != first.body:
            yield f"a retry has other bytes: first {_shown(first)}, then {_shown(got)}"
    parts = protocol.split(first.body)
    if parts is None or parts[0] != timeless(entry):
        yield f"owed was {entry.body('<time>').decode()}, but {_shown(first)} came"
    elif not in_time(arrival, entry):
        began, ended = entry.statement.began, entry.statement.ended
        yield f"time {parts[1]} lies outside its statement ({began} to {ended}), or after receipt"


def _same_id_elsewhere(arrivals: Sequence[Arrival]) -> None:
    seen: set[str] = set()
    for arrival in arrivals:
        uid = arrival.first.uid
        if uid in seen:
            told = f"webhook-id {uid} was another delivery's already: {_shown(arrival.first)}"
            arrival.faults.append(Fault("wrong", told))
        elif uid:
            seen.add(uid)


def _out_of_order(arrivals: Sequence[Arrival]) -> None:
    """Per webhook and row: an older change must have been accepted before the next one comes."""
    before: dict[tuple[str, str], Arrival] = {}
    for arrival in arrivals:
        entry = arrival.entry
        if entry is None:
            continue
        older = before.setdefault(entry.resource, arrival)
        if older is arrival or older.entry is None:
            continue
        if older.entry.number > entry.number:
            told = f"{entry}: came after a later change of the same row"
            arrival.faults.append(Fault("order", told))
            continue
        if arrival.first.clock < older.attempts[-1].clock:
            told = f"{entry}: came before an older change of the same row was accepted"
            arrival.faults.append(Fault("order", told))
        before[entry.resource] = arrival


def _count(account: Account, arrival: Arrival) -> None:
    entry, kinds = arrival.entry, {fault.kind for fault in arrival.faults}
    for line in account.lines(arrival.event, None if entry is None else entry.kind):
        line.received += 1
        line.missing += "missing" in kinds
        line.wrong += bool(kinds - {"missing", "repeated"})
        if entry is not None and "repeated" in kinds:
            line.repeated += len(arrival.attempts) - len(entry.answers)
    if entry is None or arrival.latency is None:
        return
    account.kinds[entry.kind].latencies.append(arrival.latency)
    if entry.kind == "live":
        account.events[entry.event].latencies.append(arrival.latency)
        account.total.latencies.append(arrival.latency)


def _shown(got: Received) -> str:
    return f"{got.method} {got.path} {got.body[:600].decode(errors='replace')}"
