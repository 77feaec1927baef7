"""What is asked, and what can be known of a row or a delivery."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple

from cdc.capture.catalog import Gap
from cdc.capture.plan import TableStatus
from cdc.causes import Cause, cause_of
from cdc.diagnosis.deliveries import DeliveryKey
from cdc.diagnosis.doctor.recording import BlockingSession
from cdc.mapping import Resource
from cdc.model import ACTIONS, UNUSABLE, UNVERIFIED, USUAL_ACTIONS
from cdc.wording import counted, when

Verdict = Literal["ok", "wait", "bad"]

DELIVERIES_SHOWN = 20
"""Deliveries listed, the newest first."""
AHEAD = 1000
"""Deliveries counted that stand before one in its queue."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A line of the log. detail, excerpt: None for an account that may not see them."""

    webhook: int
    id: int
    uid: str
    at: datetime
    number: int
    outcome: str
    status: int | None
    error: str | None
    duration_ms: float
    detail: str | None
    excerpt: str | None
    event: str | None
    action: str
    key: str | None
    time: datetime


@dataclass(frozen=True, slots=True)
class DeliveryFacts:
    """One change owed to one webhook.

    place:   ``queued``, ``retrying``, ``parked``, ``dead``; empty where it stands in the log alone.
    age:     seconds since the change.
    due_in:  seconds until the next attempt.
    ahead:   deliveries before it in its webhook's queue, counted as far as ``AHEAD``.
    behind:  for a parked one, the delivery of the same row that is being retried.
    """

    webhook: int
    id: int
    uid: str
    place: str
    event: str | None
    action: str
    key: str | None
    time: datetime
    age: float
    tries: int = 0
    attempts: int = 0
    due_in: float | None = None
    status: int | None = None
    error: str | None = None
    ahead: int = 0
    behind: int | None = None

    def failed(self, log: Sequence[Attempt]) -> str:
        """How many attempts failed; of one that was replayed not all need have."""
        delivered = sum(a.outcome == "delivered" for a in log)
        return f"{counted(self.tries - delivered, 'attempt')} failed"

    def answer(self, log: Sequence[Attempt]) -> str:
        """What its last attempt met with."""
        if self.error == "mapping":
            cause = next(
                (a.detail for a in reversed(log) if a.error == "mapping" and a.detail), None
            )
            why = f"the mapping has lost the event {self.event}, or a key does not fit into a URL"
            if cause:
                why = cause.rstrip(".")
            return f"no payload could be made, so there was nothing to send: {why}"
        if self.error is None or self.error == "status":
            return f"answered {self.status}" if self.status is not None else "no answer"
        return f"{self.cause(log).text} ({self.error})"

    def cause(self, log: Sequence[Attempt]) -> Cause:
        """Why its last attempt failed, and what to do; as far as this account may see it."""
        details = [a.detail for a in log if a.error == self.error and a.detail]
        return cause_of(self.error or "", self.status, details[-1] if details else "")


def delivered_before(log: Sequence[Attempt]) -> str:
    """That it had been delivered before a replay; empty if it had not."""
    times = [when(a.at) for a in log if a.outcome == "delivered"]
    return f"It had been delivered at {times[-1]}, and was sent again (replay)." if times else ""


@dataclass(frozen=True, slots=True)
class WebhookFacts:
    """A webhook, its lane and its owner.

    actions:  first letters of the actions that it wants.
    filter:   the values that a row must have to be wanted, by field.
    changed:  fields of which an update must have changed one to be wanted; empty: the row.
    include:  fields whose values it gets.
    owner:    the live daemon that owns it, None without.
    slow_for: seconds for which its receiver asked for a pause.
    signable: it has a valid secret; None for an account that may not see that.
    """

    id: int
    company: str
    state: str
    reason: str
    since: datetime
    created_at: datetime
    events: list[str]
    actions: str
    filter: dict[str, list[str]] | None
    changed: list[str] | None
    include: list[str]
    breaker: str
    failures: int
    failing_since: datetime | None
    slow_for: float | None
    last_error: str | None
    signable: bool | None
    owner: str | None = None

    @property
    def only(self) -> str:
        """What it wants of its events, where that is not all."""
        wanted = [action for action in ACTIONS if action[0] in self.actions]
        done = f" {' and '.join(wanted)}" if tuple(wanted) != USUAL_ACTIONS else ""
        where = " and ".join(
            f"{name} is {' or '.join(values)}" for name, values in (self.filter or {}).items()
        )
        rows = f", rows{done}{f' whose {where}' if where else ''} only" if done or where else ""
        if self.changed is not None:
            rows += f", updates only if {' or '.join(self.changed) or 'the row'} changed"
        return rows

    @property
    def gets(self) -> str:
        """Which values it gets; empty without any."""
        return f", with the values of {' and '.join(self.include)}" if self.include else ""

    @property
    def unusable(self) -> str | None:
        """Why the daemon cannot use the registration; None if it can."""
        error = self.last_error or ""
        return error[len(UNUSABLE) :] if error.startswith(UNUSABLE) else None

    @property
    def resumed(self) -> str:
        """What ends its pause or suspension."""
        if self.reason == UNVERIFIED:
            return (
                "Its company verifies it in the portal or over the API; "
                f"`cdc webhook resume {self.id} --unverified` accepts it without."
            )
        return f"`cdc webhook resume {self.id}` sends everything that is held, in order."


class Failing(NamedTuple):
    """The delivery of a webhook that failed last, of those that are due next; of one that has none,
    the newest dead one. With its attempts."""

    delivery: DeliveryFacts
    log: list[Attempt]

    @property
    def answer(self) -> str:
        return self.delivery.answer(self.log)

    @property
    def cause(self) -> Cause:
        return self.delivery.cause(self.log)


@dataclass(frozen=True, slots=True)
class UnresolvedFacts:
    """A change whose company could not be found."""

    id: int
    resource: str
    key: str | None
    action: str
    time: datetime
    reason: str
    tries: int


@dataclass(frozen=True, slots=True)
class Facts:
    """All of it.

    daemons:   how many there are.
    gaps:      times in which capture of the row's table was off, within the time looked at.
    mapped_at: since when capture is installed as it is.
    copy:      daemons refuse to run here.
    blocking:  a session that keeps daemons from recording what they have sent.
    failing:   what failed last, by webhook; of a row or a delivery where a circuit breaker is open.
    held_days: after how many days what is held expires.
    """

    deliveries: list[DeliveryFacts] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    unresolved: list[UnresolvedFacts] = field(default_factory=list)
    hooks: dict[int, WebhookFacts] = field(default_factory=dict)
    capture: list[TableStatus] = field(default_factory=list)
    daemons: int = 0
    gaps: list[Gap] = field(default_factory=list)
    mapped_at: datetime | None = None
    copy: bool = False
    blocking: BlockingSession | None = None
    failing: dict[int, Failing] = field(default_factory=dict)
    held_days: float = 14.0

    def last_failure(self, hook: WebhookFacts) -> tuple[str, Cause]:
        """What its lane met last, in words, and why; with the detail that the log has of it."""
        error, failing = hook.last_error or "", self.failing.get(hook.id)
        if failing is not None and failing.delivery.error == error:
            return failing.answer, failing.cause
        return error, cause_of(error)


@dataclass(frozen=True, slots=True)
class CommonFacts:
    """What is the same for all deliveries. owners: of shards. Others: as in ``Facts``."""

    capture: list[TableStatus]
    daemons: int
    owners: dict[int, str]
    copy: bool
    blocking: BlockingSession | None
    held_days: float


@dataclass(frozen=True, slots=True)
class Subject:
    """A row (resource and key), a webhook, or a delivery by its number or webhook-id.

    known: where the deliveries of the webhook-id are, if they were looked up already.
    """

    number: int | None = None
    uid: str | None = None
    resource: Resource | None = None
    key: str | None = None
    since: datetime | None = None
    company: str | None = None
    webhook: int | None = None
    known: tuple[DeliveryKey, ...] = ()


@dataclass(frozen=True, slots=True)
class Sentence:
    """verdict: well, takes its time, or wrong. code: of the story, stable for scripts. todo: what
    to do next."""

    verdict: Verdict
    code: str
    text: str
    todo: str = ""
