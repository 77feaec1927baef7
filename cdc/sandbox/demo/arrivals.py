"""What arrived, put beside what was owed: which POST is which entry's. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from cdc.sandbox.demo import protocol
from cdc.sandbox.demo.ledger import Entry
from cdc.sandbox.receiver import Received

FaultKind = Literal["missing", "wrong", "order", "repeated", "unexpected", "rolled back"]


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one delivery, in words for a person."""

    kind: FaultKind
    text: str


@dataclass(slots=True)
class Arrival:
    """All attempts of one delivery: the POSTs with one webhook-id at one path, as they came.

    entry:     the entry that this fulfils, well or badly; None: nobody is owed this.
    forbidden: the rolled-back change that this tells of, if it does.
    """

    attempts: list[Received]
    entry: Entry | None = None
    forbidden: Entry | None = None
    faults: list[Fault] = field(default_factory=list)

    @property
    def first(self) -> Received:
        return self.attempts[0]

    @property
    def event(self) -> str:
        """The event's name; empty when the POST names none of the protocol's."""
        if self.entry is not None:
            return self.entry.event
        return next((e for e in protocol.EVENTS if f'"{e}"'.encode() in self.first.body), "")

    @property
    def latency(self) -> float | None:
        """Seconds from just before COMMIT to the last byte of the first attempt."""
        if self.entry is None or self.entry.statement.commit is None:
            return None
        return self.first.clock - self.entry.statement.commit


def gather(received: Iterable[Received]) -> list[Arrival]:
    """The POSTs by delivery, in the order in which their first attempts came."""
    found: dict[tuple[str, str], Arrival] = {}
    for number, got in enumerate(received):
        # Without a webhook-id nobody can tell what belongs together.
        key = (got.path, got.uid or f"#{number}")
        if key in found:
            found[key].attempts.append(got)
        else:
            found[key] = Arrival([got])
    return list(found.values())


def match(
    arrivals: Sequence[Arrival], entries: Sequence[Entry], forbidden: Sequence[Entry]
) -> list[Entry]:
    """Finds the entry of each arrival; returns the entries that none is left for.

    First by exact body and time, so that each of many changes of one row finds its own. What is
    left is matched by whatever fits best, so that a fault can say what it should have been.
    """
    open_entries: dict[bytes, list[Entry]] = defaultdict(list)
    for entry in entries:
        open_entries[timeless(entry)].append(entry)
    rest = [a for a in arrivals if not _take(a, _same_body(a, open_entries), in_time)]
    for arrival in rest:
        # Better a stranger than a rolled-back change taken for something that was owed.
        arrival.forbidden = next((e for e in forbidden if _tells_of(arrival, e)), None)
    rest = [a for a in rest if a.forbidden is None]
    rest = [a for a in rest if not _take(a, _same_body(a, open_entries), lambda *_: True)]
    left = [entry for same in open_entries.values() for entry in same]
    for arrival in rest:
        _take(arrival, left, _resembles)
    return sorted(left, key=lambda entry: entry.number)


def timeless(entry: Entry) -> bytes:
    """The entry's body, as ``protocol.split`` leaves it."""
    return entry.body("")


def in_time(arrival: Arrival, entry: Entry) -> bool:
    """Whether the body's time lies within the statement, and not after the receipt."""
    parts = protocol.split(arrival.first.body)
    if parts is None:
        return False
    ended = entry.statement.ended or arrival.first.at
    return entry.statement.began <= parts[1] <= min(ended, arrival.first.at)


def _take(
    arrival: Arrival, candidates: list[Entry], fits: Callable[[Arrival, Entry], bool]
) -> bool:
    """Gives the arrival the first candidate that fits, and takes it off the list."""
    for number, entry in enumerate(candidates):
        if entry.hook.path == arrival.first.path and fits(arrival, entry):
            arrival.entry = candidates.pop(number)
            return True
    return False


def _same_body(arrival: Arrival, open_entries: dict[bytes, list[Entry]]) -> list[Entry]:
    parts = protocol.split(arrival.first.body)
    return open_entries.get(parts[0], []) if parts else []


def _tells_of(arrival: Arrival, entry: Entry) -> bool:
    parts = protocol.split(arrival.first.body)
    return (
        parts is not None
        and arrival.first.path == entry.hook.path
        and parts[0] == timeless(entry)
        and in_time(arrival, entry)
    )


def _resembles(arrival: Arrival, entry: Entry) -> bool:
    body = arrival.first.body
    return f'"{entry.event}"'.encode() in body and f'"{entry.row.url}"'.encode() in body
