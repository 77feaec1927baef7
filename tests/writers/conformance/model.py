"""What is compared: a statement, the ways to send it, and what a client sees of it."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal


@dataclass(frozen=True, slots=True)
class Copy:
    """COPY FROM STDIN with its rows: lines in the text format. types: for the binary one."""

    sql: str
    lines: tuple[str, ...]
    types: tuple[str, ...] = ()

    def rows(self) -> Iterator[tuple[object, ...]]:
        for one in self.lines:
            for line in repeated(one):
                yield tuple(map(int if self.types else str, line.split("\t")))


def repeated(text: str) -> Iterator[str]:
    """``@3 s{}`` is s0, s1, s2."""
    times = re.match(r"@(\d+) ", text)
    if times is None:
        yield text
    else:
        for number in range(int(times[1])):
            yield text[times.end() :].replace("{}", str(number))


@dataclass(frozen=True, slots=True)
class Other:
    """Something that another session does meanwhile."""

    sql: str


@dataclass(frozen=True, slots=True)
class Look:
    """Ask here what can be seen."""


LOOK: Final = Look()

Step = str | Copy | Other | Look
Mode = Literal["transaction", "autocommit", "repeatable read", "serializable"]
Protocol = Literal["simple", "extended", "generic plan", "custom plan", "pipeline"]


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to run a statement. webhooks: registered; bell: and a daemon sleeps."""

    mode: Mode = "transaction"
    protocol: Protocol = "simple"
    webhooks: bool = True
    bell: bool = False

    def __str__(self) -> str:
        owed = "bell armed" if self.bell else "webhooks" if self.webhooks else "nobody"
        return f"{self.mode}, {self.protocol}, {owed}"


@dataclass(frozen=True, slots=True)
class Statement:
    """What a writer does. before: run first, by another session, unseen.

    captures: whether anything is queued or kept when webhooks are registered.
    since:    the first release of PostgreSQL that has it.
    """

    name: str
    steps: tuple[Step, ...]
    variants: tuple[Variant, ...]
    captures: bool
    since: int
    before: str


OBSERVATIONS: Final = (
    "rows", "tag", "count", "notices", "errors", "state", "lastval", "currval", "settings",
    "isolation", "locks", "transactions", "subtransactions", "notifications", "prepared",
    "cursors", "random", "temporary files", "contents",
)  # fmt: skip
"""The columns of the page."""


@dataclass(slots=True)
class Seen:
    """All that was seen of one run, by observation."""

    items: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, observation: str, item: object) -> None:
        assert observation in OBSERVATIONS, observation
        self.items[observation].append(str(item))

    def differences(self, other: Seen) -> list[str]:
        """`observation: -item` for what only this one has, `+item` for what only the other has."""
        found = []
        for observation in OBSERVATIONS:
            ours, theirs = self.items[observation], other.items[observation]
            if ours != theirs:
                less, more = Counter(ours) - Counter(theirs), Counter(theirs) - Counter(ours)
                found += [f"{observation}: -{item}" for item in less.elements()]
                found += [f"{observation}: +{item}" for item in more.elements()]
        return found
