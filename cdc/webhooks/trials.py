"""Tests of webhooks: asked for here, sent by the daemons (``daemon/trials.py``).

A test is a row of ``cdc.task``. The API, the console and the portal ask for one by ``start`` and
show what came of it by ``newest``, or by the task's number; none of them connects to an endpoint.
"""

from __future__ import annotations

from typing import Any, Literal

import sqlalchemy as sa

from cdc.errors import CdcError, UsageError
from cdc.message.trial import SENT_WITHIN_S
from cdc.model import CHALLENGE_EVENT
from cdc.postgres.advisory_locks import TRIAL_LOCKS
from cdc.schema.tables import registration, task
from cdc.webhooks import audit, statements
from cdc.webhooks.audit import Actor
from cdc.webhooks.model import Registration
from cdc.wording import age

TRIALS_PER_MINUTE = 5
"""Of one webhook."""
CHALLENGES_PER_HOUR = 60
"""Of all webhooks of a company, which enters any address that it likes."""
ENDED_WITHIN_S = 360
"""One that was taken has ended by then, or its daemon stands still: an attempt takes 300 s at most.
"""

_NOW = sa.func.clock_timestamp()
# Of one that was taken, the daemon's session holds the lock until the answer is recorded.
_GIVE_UP = sa.text("""
with open as materialized (
  select id, state, clock_timestamp() - created_at as age from cdc.task
   where kind = 'test' and state in ('waiting', 'running')
), over as materialized (
  select id, state from open
   where age > interval '1 s' * case state when 'waiting' then :sent_within else :end_within end
      or case state when 'running' then pg_try_advisory_xact_lock(:locks, hashtext(id::text)) end
)
update cdc.task t set state = 'failed', ended_at = clock_timestamp(),
       error = case over.state when 'waiting' then cast(:not_sent as text) else :not_recorded end
  from over
 where t.id = over.id and t.state = over.state
""")
_NOT_SENT = (
    f"no daemon has sent it within {SENT_WITHIN_S} s: none runs, or the one that owns the webhook"
    " is of an earlier release"
)
_NOT_RECORDED = "the daemon that sent it ended before the answer was recorded: test again"


class TooManyTrials(CdcError):
    """As many as there may be were asked for. retry_after: seconds until there may be another."""

    def __init__(self, message: str, hint: str, retry_after: int) -> None:
        super().__init__(message, hint)
        self.retry_after = retry_after


def start(
    conn: sa.Connection, actor: Actor, webhook_id: int, event: str | None = None
) -> dict[str, Any]:
    """Has a signed POST with the action ``test`` sent to the webhook, paused or not. The task.

    event: one of the webhook's; None: the first.
    Raises UnknownWebhook, UsageError, TooManyTrials.
    """
    found = statements.alive(conn, webhook_id)  # locked: one after the other is counted
    if event is not None and event not in found.events:
        raise UsageError(
            f"webhook {webhook_id} has no event '{event}'", f"It has: {', '.join(found.events)}."
        )
    asked = {"events": [event] if event else list(found.events)}
    return _begun(conn, actor, found, asked, "webhook.test")


def challenge(
    conn: sa.Connection, actor: Actor, webhook_id: int, proof: Literal["echo", "accept", "off"]
) -> dict[str, Any]:
    """Has a signed challenge sent; its answer may prove the endpoint. The task, a test as others.

    proof: what the answer must be; "off": any 2xx, as "accept".
    Raises UnknownWebhook, TooManyTrials.
    """
    found = statements.alive(conn, webhook_id)
    _check_challenges(conn, found.company)
    asked = {"events": [CHALLENGE_EVENT], "challenge": "echo" if proof == "echo" else "accept"}
    return _begun(conn, actor, found, asked, "webhook.verify")


def _begun(
    conn: sa.Connection, actor: Actor, found: Registration, asked: dict[str, Any], action: str
) -> dict[str, Any]:
    _check_rate(conn, found.id)
    made = (
        sa.insert(task)
        .values(
            kind="test",
            actor=actor.name,
            company=found.company,
            webhook_id=found.id,
            request=asked,
        )
        .returning(task)
    )
    row = dict(conn.execute(made).mappings().one())
    after = {"task": str(row["id"]), "event": asked["events"][0]}
    audit.note(conn, actor, action, company=found.company, webhook=found.id, after=after)
    conn.execute(sa.text("select pg_notify('cdc', '') where pg_notification_queue_usage() < 0.5"))
    return row


def newest(
    conn: sa.Connection, webhook_id: int, *, challenges: bool = False
) -> dict[str, Any] | None:
    """The webhook's newest test, as a task; None: there is none, or it was forgotten.

    challenges: of these instead.
    """
    query = (
        sa.select(task)
        .where(task.c.kind == "test", task.c.webhook_id == webhook_id)
        .where(task.c.request.has_key("challenge").is_(challenges))
        .order_by(task.c.created_at.desc())
        .limit(1)
    )
    row = conn.execute(query).mappings().first()
    return None if row is None else dict(row)


def give_up(conn: sa.Connection) -> None:
    """Ends those that no daemon has sent in time, or whose daemon has ended."""
    conn.execute(
        _GIVE_UP,
        {
            "not_sent": _NOT_SENT,
            "not_recorded": _NOT_RECORDED,
            "locks": TRIAL_LOCKS,
            "sent_within": SENT_WITHIN_S,
            "end_within": ENDED_WITHIN_S,
        },
    )


def _check_rate(conn: sa.Connection, webhook_id: int) -> None:
    count, seconds = _tested(conn, 60, task.c.webhook_id == webhook_id)
    if count >= TRIALS_PER_MINUTE:
        raise TooManyTrials(
            f"webhook {webhook_id} was tested {count} times within a minute",
            f"Test it again in {seconds} s.",
            seconds,
        )


def _check_challenges(conn: sa.Connection, company: str) -> None:
    own = sa.select(registration.c.id).where(registration.c.company == company)
    challenges = task.c.request.has_key("challenge")
    count, seconds = _tested(conn, 3600, task.c.webhook_id.in_(own), challenges)
    if count >= CHALLENGES_PER_HOUR:
        raise TooManyTrials(
            f"{count} challenges were sent for company {company} within an hour, as many as may be",
            f"Verify the address in {age(seconds)}, or ask an operator to accept it without.",
            seconds,
        )


def _tested(conn: sa.Connection, within_s: int, *which: sa.ColumnElement[bool]) -> tuple[int, int]:
    """How many tests there were within this time, and in how many seconds the first is older."""
    first = sa.extract("epoch", _NOW - sa.func.min(task.c.created_at))
    query = sa.select(sa.func.count(), sa.func.ceil(within_s - first)).where(
        task.c.kind == "test",
        task.c.created_at > _NOW - sa.func.make_interval(0, 0, 0, 0, 0, 0, within_s),
        *which,
    )
    count, wait = conn.execute(query).one()
    return count, max(1, int(wait or 0))
