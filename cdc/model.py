"""The types of the stages of a delivery, named as in ARCHITECTURE.md.

    queue row -> Delivery -> body -> Request -> Outcome -> settlement

A type says how far a thing has come; nothing here does any work or knows a clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple


class ResourceKey(NamedTuple):
    """What order is kept for, within one webhook: an event and the key of a row."""

    event: str
    key: str


class Span(NamedTuple):
    """Where in the queue unread rows of a webhook lie: ids, both ends included."""

    first: int
    last: int = 2**63 - 1

    def joined(self, other: Span | None) -> Span:
        """Both of them, and what lies between."""
        if other is None:
            return self
        return Span(min(self.first, other.first), max(self.last, other.last))


ACTIONS = ("created", "modified", "deleted")
"""What is done to a row, as payloads have it; the database keeps the first letters."""

ACTION_NAMES = {key: name for name in ACTIONS for key in (name[0], name[0].encode())}
"""By what the database keeps of them, as text or binary results have it."""

USUAL_ACTIONS = ACTIONS[:2]
"""What a registration gets that names none: it may be older than deletes are."""

SHARDS = 64
"""Parts in which webhooks are given to daemons."""


def shard_of(webhook_id: int) -> int:
    """The part that a webhook belongs to."""
    return webhook_id % SHARDS


LOG_RING = 32
"""Partitions of the attempt log, one a day, again and again (sql/schema/70_attempt.sql)."""

UNREAD = -(2**63)
"""First id of a span of which nothing is known yet: rows may begin anywhere."""

UNFIT = -2
"""Number of the layout of rows whose references were not brought: too long for our memory, or no
list. No payload can be made of them."""

NOTICE_EVENT = "webhook_notice"
"""What webhooks of the system get: notices about all others (sql/schema/88_notice.sql)."""
NOTICE_LAYOUT = 2**31 - 1
NOTICE_FIELDS = (
    "base", "company", "notice", "kind", "since", "cause", "event", "sentence", "webhook",
)  # fmt: skip
CHALLENGE_EVENT = "webhook_challenge"
"""What an endpoint has to answer before the first delivery, if its company entered it."""
UNVERIFIED = "its endpoint is not yet verified"
"""Why such a webhook is paused."""
SYSTEM = ""
"""The company of the system's webhooks."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What the references of a queue row mean (a row of ``cdc.layout``).

    fields: names of the references in the order in which the trigger wrote them. The first two are
    always ``base`` (the company's own base URL, or null) and ``company``; the last one is the
    changed row's own key. A key of several columns has their names behind its own
    (cdc/mapping/row_keys.py). None for ``UNFIT``.
    """

    id: int
    event: str
    fields: tuple[str, ...]


PLACE = 1024
"""Bytes of references and body for which a delivery takes one place of its window, and one more for
each further as many. One with usual keys takes one."""


@dataclass(slots=True)
class Delivery:
    """One change owed to one webhook.

    id:       the queue's number; orders the changes of one resource. Unique per webhook in all
              but damaged databases, so the pair (id, uid) names a row.
    xid:      the transaction that made the change.
    uid:      the ``webhook-id``: same for all attempts, never again anything else's.
    action:   ``created``, ``modified`` or ``deleted``.
    time:     when the change triggered the webhook (aware, UTC, microseconds).
    refs:     keys of the row and its parents as text, in the layout's order; None where missing.
    included: JSON object of what its webhook includes of the row's values; None: nothing.
    attempts: tries so far that used up the retry budget.
    tries:    all tries so far; the log numbers attempts with it.
    body:     the exact bytes to send, once they were made; a retried delivery keeps them.
    retrying: the row lies in ``cdc.retry``, no longer in ``cdc.queue``.
    places:   it takes of its lane's window (``PLACE``).
    """

    id: int
    webhook_id: int
    xid: int
    uid: str
    layout: Layout
    action: str
    time: datetime
    refs: tuple[str | None, ...]
    attempts: int = 0
    tries: int = 0
    body: bytes | None = None
    retrying: bool = False
    places: int = 1
    included: str | None = None

    @property
    def resource(self) -> ResourceKey:
        return ResourceKey(self.layout.event, self.refs[-1] or "")


class WebhookState(StrEnum):
    """States of a registration (docs/webhooks.md, "States of a webhook")."""

    ACTIVE = "active"
    PAUSED = "paused"
    SUSPENDED = "suspended"
    REMOVED = "removed"


UNUSABLE = "cannot be used: "
"""How the last error begins of a lane whose owner cannot use the registration."""

THIS_MACHINE = "the daemon's machine cannot connect"
"""How it continues where the registration is not at fault."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """A registration, as the daemon needs it.

    secrets: signing secrets in the form ``whsec_...``, newest first; more than one while a
             rotation is in its time of grace.
    version: raised by every change of the registration.
    cap:     requests that may be in flight at once.
    rate:    requests per second that may be started, or None.
    headers: additional request headers, name to value.
    tls_profile: which certificates to trust and to show; None: those for all.
    """

    id: int
    company: str
    endpoint: str
    state: WebhookState
    version: int
    secrets: tuple[str, ...] = field(repr=False)
    cap: int = 10
    rate: float | None = None
    headers: dict[str, str] = field(default_factory=dict)
    tls_profile: str | None = None


@dataclass(slots=True)
class Request:
    """One signed POST, ready for any HTTP client. Never changed (see Outcome).

    url:    the endpoint without user and password.
    head:   all headers of ours in the order to send them, as they go over the wire, each line with
            its end (``Host`` and ``Content-Length`` are the client's business).
    hidden: what must not be shown if the receiver echoes it, longest first.
    tls_profile: which certificates to trust and to show; None: those for all.
    """

    url: str
    head: bytes = field(repr=False)
    body: bytes
    hidden: tuple[str, ...] = field(default=(), repr=False)
    tls_profile: str | None = None

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """The headers, name and value."""
        lines = self.head.decode("ascii").split("\r\n")[:-1]
        pairs = (line.partition(": ") for line in lines)
        return tuple((name, value) for name, _, value in pairs)


class Answer(StrEnum):
    """What an attempt amounted to, as far as retries and lanes are concerned.

    SUCCESS: 2xx.
    GONE:    410, or webhook-delivery: disable: suspends the webhook; no budget used.
    ABORTED: webhook-delivery: abort-message: the delivery is dead at once. The receiver is well.
    BUSY:    429 or 503: the lane slows down; no budget used.
    SLOW:    502 or 504: the lane slows down; budget used.
    FAILURE: any other answer, no answer at all, or refused by the address guard: budget used,
             counts for the breaker.
    """

    SUCCESS = "success"
    GONE = "gone"
    ABORTED = "aborted"
    BUSY = "busy"
    SLOW = "slow"
    FAILURE = "failure"


@dataclass(slots=True)
class Outcome:
    """How one attempt ended. A bad receiver is a value, never an exception.

    Never changed; not frozen, because making a frozen one takes three times as long.

    status:      HTTP status, None when no complete answer came.
    error:       short class of what went wrong, None on success: ``status``, ``refused``,
                 ``reset``, ``timeout``, ``tls``, ``dns``, ``protocol``, ``guard``, ``proxy``,
                 ``mapping``, ``record``.
    detail:      one line for a person, without secrets; empty on success.
    duration:    seconds from the start of the attempt to its end.
    excerpt:     beginning of the answer's body, at most 1 KiB, printable.
    retry_after: seconds the receiver asked to wait, already parsed from seconds or date, None
                 without.
    """

    answer: Answer
    status: int | None
    error: str | None
    detail: str
    duration: float
    excerpt: str = ""
    retry_after: float | None = None
