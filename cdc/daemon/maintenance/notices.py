"""Notices: what has begun or ended with webhooks, a row of ``cdc.notice`` each.

Found in what is kept of lanes and registrations anyway, so that deliveries cost nothing more. While
nothing begins or ends, nothing is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from cdc.causes import Cause, cause_of
from cdc.daemon.consequences import FAILING_KEPT_AFTER_S
from cdc.daemon.store.session import Connection, run
from cdc.settings.kinds import DAY
from cdc.telemetry import Observer
from cdc.wording import age, counted, one_line, printable, when

SUSPENSION_ANNOUNCED_S = DAY
EXPIRY_ANNOUNCED_S = 2 * DAY
DEAD_NOTICED_EVERY_S = 3600.0
"""Between two notices about dead deliveries of a webhook: the later one counts them together."""
DEAD_COUNTED_ROWS = 20_000
NOTICES_PRUNED_ROWS = 10_000
SENTENCE_CHARS = 600
"""Some 2,400 bytes: a queue row holds 4,000."""


class Found(NamedTuple):
    """A row of ``notice_find.sql``.

    since:  when it began.  until: when the webhook is suspended, or the first delivery expires.
    reason: of the webhook's state.
    error, status, detail: of the attempt that is the cause.
    """

    at: datetime
    kind: str
    webhook_id: int
    company: str
    event: str | None
    since: datetime
    until: datetime | None
    deliveries: int
    state: str
    reason: str
    error: str
    status: int | None
    detail: str

    @property
    def cause(self) -> Cause | None:
        """None: it has none."""
        if not self.error or self.kind in ("recovered", "expiring"):
            return None
        return cause_of(self.error, self.status, self.detail)


class Terms(NamedTuple):
    """Seconds of the settings that notices announce the end of."""

    suspend_after: float
    held: float
    dead: float


async def run_once(
    conn: Connection,
    epochs: Mapping[int, int],
    succeeding: Sequence[int],
    terms: Terms,
    observer: Observer,
) -> None:
    """Writes what is new about the webhooks of our shards.

    succeeding: webhooks whose last attempt was a success.
    """
    asked = [list(epochs), list(succeeding), FAILING_KEPT_AFTER_S, terms.suspend_after,
             SUSPENSION_ANNOUNCED_S, terms.held, min(EXPIRY_ANNOUNCED_S, terms.held / 2),
             DEAD_NOTICED_EVERY_S, DEAD_COUNTED_ROWS]  # fmt: skip
    found = [Found(*row) for row in await run(conn, "notice_find", asked)]
    if not found:
        return
    causes = [one.cause for one in found]
    columns = [
        [one.kind for one in found],
        [one.webhook_id for one in found],
        [one.company for one in found],
        [one.event for one in found],
        [one.since for one in found],
        ["" if cause is None else cause.code for cause in causes],
        [sentence(one, terms) for one in found],
    ]
    fence = [list(epochs), list(epochs.values())]
    for kind, webhook_id, text, _ in await run(conn, "notice_add", [*fence, found[0].at, *columns]):
        observer.noticed(kind, webhook_id, text)


def sentence(found: Found, terms: Terms) -> str:
    """What a notice says. Names no company and no endpoint: others may read it."""
    subject = f"Webhook {found.webhook_id}"
    since = when(found.since)
    why = "" if (cause := found.cause) is None else f": {cause.text}"
    until = "" if found.until is None else when(found.until)
    match found.kind:
        case "failing":
            text = (
                f"{subject} has been failing since {since}{why}. Unless a delivery succeeds, it is "
                f"suspended at {until}."
            )
        case "suspending":
            text = (
                f"{subject} is suspended at {until}, unless a delivery succeeds before. It has "
                f"been failing since {since}{why}."
            )
        case "suspended":
            text = (
                f"{subject} was suspended at {since}: {found.reason or 'no reason'}. Its "
                f"deliveries are kept for {age(terms.held)}, and sent when it is resumed."
            )
        case "recovered":
            text = f"{subject} delivers again. It had been failing or suspended since {since}."
        case "dead":
            least = "at least " if found.deliveries >= DEAD_COUNTED_ROWS else ""
            many = counted(found.deliveries, "delivery", "deliveries")
            text = (
                f"{least}{many} of webhook {found.webhook_id} dead since {since}{why}. What is "
                f"dead is kept for {age(terms.dead)}, and can be replayed."
            )
        case _:
            text = (
                f"Held deliveries of webhook {found.webhook_id} begin to expire at {until}: it has "
                f"been {found.state} since {since}. They are sent when it is resumed."
            )
    # A receiver may have written a part of it.
    return one_line(printable(text), SENTENCE_CHARS)


async def prune(conn: Connection, seconds: float) -> None:
    """Deletes those that are older, some at a time."""
    await run(conn, "notice_prune", [seconds, NOTICES_PRUNED_ROWS])
