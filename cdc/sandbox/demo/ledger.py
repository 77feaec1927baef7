"""What the suite's writer owes to whom, noted as it writes. Knows nothing of the queue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal
from urllib.parse import urlsplit

from cdc.sandbox.demo import protocol
from cdc.sandbox.demo.protocol import DemoRow

Action = Literal["created", "modified"]
Kind = Literal["live", "retry", "bulk", "beside"]


@dataclass(frozen=True, slots=True)
class Hook:
    """A webhook of the demo.

    name:     for people, such as ``acme/ats``; also its path at the receiver.
    endpoint: its URL.
    """

    name: str
    company: int
    events: tuple[str, ...]
    endpoint: str

    @property
    def path(self) -> str:
        return urlsplit(self.endpoint).path


@dataclass(slots=True)
class Statement:
    """When one statement of the suite ran.

    began, ended: wall clock (UTC) around it; a change's ``time`` lies between.
    commit:       ``time.perf_counter()`` just before COMMIT was sent; None without one.
    """

    began: datetime
    ended: datetime | None = None
    commit: float | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """One row written by one statement."""

    row: DemoRow
    action: Action


@dataclass(frozen=True, slots=True)
class Entry:
    """One delivery that is owed (or, in ``Ledger.forbidden``, must never be seen).

    number:  counts entries in the order in which the changes were made.
    answers: what the receiver answers to its attempts, one after the other.
    kind:    which of the account's lines its latency belongs to.
    """

    number: int
    hook: Hook
    row: DemoRow
    action: Action
    statement: Statement
    answers: tuple[int, ...] = (200,)
    kind: Kind = "live"

    @property
    def event(self) -> str:
        return self.row.event

    @property
    def resource(self) -> tuple[str, str]:
        """What order is kept for: a row, within one webhook."""
        return (self.hook.path, self.row.url)

    def body(self, time: str) -> bytes:
        return protocol.body(self.hook.endpoint, time, self.event, self.action, self.row.data)

    def __str__(self) -> str:
        return f"{self.event} {self.action} of {self.row.url} at {self.hook.name}"


@dataclass(slots=True)
class Ledger:
    """Entries are added just before their COMMIT is sent, so none can arrive before it is noted."""

    hooks: Sequence[Hook]
    entries: list[Entry] = field(default_factory=list)
    forbidden: list[Entry] = field(default_factory=list)

    @property
    def posts(self) -> int:
        """How many POSTs are due by now, attempts that will be refused included."""
        return sum(len(entry.answers) for entry in self.entries)

    def owe(
        self,
        changes: Sequence[tuple[Change, Statement]],
        *,
        kind: Kind = "live",
        answers: tuple[int, ...] = (200,),
    ) -> list[Entry]:
        """The changes are about to be committed. Returns what that owes to whom."""
        added = self._entries(changes, len(self.entries), kind, answers)
        self.entries += added
        return added

    def forbid(self, changes: Sequence[tuple[Change, Statement]]) -> list[Entry]:
        """The changes were rolled back: nobody must ever hear of them."""
        added = self._entries(changes, len(self.forbidden), "live", (200,))
        self.forbidden += added
        return added

    def _entries(
        self,
        changes: Sequence[tuple[Change, Statement]],
        first: int,
        kind: Kind,
        answers: tuple[int, ...],
    ) -> list[Entry]:
        made: list[Entry] = []
        for change, statement in changes:
            for hook in self.hooks:
                if hook.company == change.row.company and change.row.event in hook.events:
                    number = first + len(made)
                    made.append(
                        Entry(number, hook, change.row, change.action, statement, answers, kind)
                    )
        return made
