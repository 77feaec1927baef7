"""Made-up deliveries and outcomes, and a lane that is easy to feed."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from random import Random

from cdc.lanes import Capacity, Decision, Lane, LaneRules
from cdc.model import Answer, Delivery, Layout, Outcome, ResourceKey, Span

LAYOUT = Layout(1, "rating_changed", ("base", "company", "project", "candidate", "rating"))
TIME = datetime(2015, 3, 16, 15, 32, 34, 174752, tzinfo=UTC)


def delivery(
    id: int,
    key: str | None = None,
    *,
    uid: str = "",
    xid: int = 0,
    action: str = "modified",
    attempts: int = 0,
    retrying: bool = False,
    places: int = 1,
) -> Delivery:
    """A delivery of a resource of its own unless a key is given."""
    return Delivery(
        id=id,
        webhook_id=1,
        xid=xid or id,
        uid=uid or f"uid-{id}",
        layout=LAYOUT,
        action=action,
        time=TIME,
        refs=(None, "1", "17", "19", key or f"key-{id}"),
        attempts=attempts,
        retrying=retrying,
        places=places,
    )


def resource(key: str) -> ResourceKey:
    return ResourceKey("rating_changed", key)


STATUS = {
    Answer.SUCCESS: 204,
    Answer.GONE: 410,
    Answer.BUSY: 429,
    Answer.SLOW: 502,
    Answer.FAILURE: 500,
    Answer.ABORTED: 400,
}


def outcome(answer: Answer, retry_after: float | None = None, *, answered: bool = True) -> Outcome:
    return Outcome(
        answer=answer,
        status=STATUS[answer] if answered else None,
        error=None if answer is Answer.SUCCESS else "status" if answered else "refused",
        detail="" if answer is Answer.SUCCESS else f"HTTP {STATUS[answer]}",
        duration=0.01,
        retry_after=retry_after,
    )


OK = outcome(Answer.SUCCESS)
BAD = outcome(Answer.FAILURE)
DOWN = outcome(Answer.FAILURE, answered=False)
BUSY = outcome(Answer.BUSY)
SLOW = outcome(Answer.SLOW)
GONE = outcome(Answer.GONE)
ABORTED = outcome(Answer.ABORTED)

# Every delay exact: what jitter does is a test of its own.
PLAIN = LaneRules(jitter=0.0)


def lane(rules: LaneRules = PLAIN, capacity: Capacity | None = None) -> Lane:
    return Lane(1, rules, Random(1), capacity)


def feed(lane: Lane, rows: Iterable[Delivery]) -> list[Delivery]:
    """Rows committed in the queue: looked for, fetched, nothing beyond them."""
    rows = sorted(rows, key=lambda row: row.id)
    lane.noticed(Span(rows[0].id))
    plan = lane.plan_fetch()
    assert plan is not None
    assert len(rows) < plan.limit
    return lane.fetched(plan, rows)


def feed_due(
    lane: Lane, rows: Iterable[Delivery], now: float, next_due: float | None = None
) -> list[Delivery]:
    """Rows due in the retry table."""
    plan = lane.plan_due(now)
    assert plan is not None
    return lane.take_due(plan, list(rows), next_due)


def ids(rows: Iterable[Delivery]) -> list[int]:
    return [row.id for row in rows]


def fail(lane: Lane, rows: Iterable[Delivery], now: float) -> list[Decision]:
    return [lane.finish(row, BAD, now) for row in rows]
