"""What an account compares: the entries of a writer's ledger, and the requests that came."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol


class Wantable(Protocol):
    """What a webhook may ask of a change."""

    @property
    def company(self) -> str: ...
    @property
    def event(self) -> str: ...
    @property
    def action(self) -> str: ...
    @property
    def became(self) -> str: ...


class Change(NamedTuple):
    """A row that was written by one statement: an entry of a writer's ledger.

    version:      how often the row was changed, this time included; 0 when it was made.
    since, until: microseconds since the epoch: the row was written and the statement's answer had
                  come. The time in a body lies between, and no other statement wrote the row
                  then.
    done:         just before COMMIT was sent, by the clock of ``Arrival.received``.
    committed:    False: rolled back, so it must never be sent.
    tag:          what kind of load it belongs to; only for reports.
    became:       the status that it gave the row; empty: it left that as it was.
    """

    company: str
    event: str
    key: str
    action: str
    version: int
    since: int
    until: int
    done: float
    committed: bool
    tag: str = ""
    became: str = ""


class Arrival(NamedTuple):
    """One POST that came.

    webhook:  number of the webhook, from its path.
    time:     microseconds since the epoch, as the body says.
    received: seconds of a monotonic clock when its last byte had come.
    ended:    the same when it was answered, or the connection was lost.
    status:   what was answered, 0 without a whole answer.
    problem:  why it is not genuine; empty if it is.
    altered:  in what it differs from what its change owes; empty if in nothing.
    digest:   of its body: retries have the same bytes.
    """

    webhook: int
    uid: str
    company: str
    event: str
    key: str
    action: str
    time: int
    received: float
    ended: float
    status: int
    problem: str = ""
    altered: str = ""
    digest: int = 0


@dataclass(frozen=True, slots=True)
class Hook:
    """A registered webhook, as the account needs it.

    name:    for people.
    became:  it wants only changes that gave a row this status; empty: all.
    deleted: it wants rows that are deleted, too.
    """

    number: int
    company: str
    events: frozenset[str]
    name: str = ""
    became: str = ""
    deleted: bool = False

    def wants(self, change: Wantable) -> bool:
        """Whether the change is owed to it."""
        mine = self.company == change.company and change.event in self.events
        action = self.deleted or change.action != "deleted"
        return mine and action and self.became in ("", change.became)
