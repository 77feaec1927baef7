"""Deliveries, replays and tasks, as they go into the API and come out of it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from cdc.web.models import In, Moment, Name, Number, Out, Outcome, Paged, Query, Text

DeliveryState = Literal[
    "queued", "retrying", "parked", "held", "waiting", "delivered", "dead", "expired", "dropped"
]


class DeliveryQuery(Paged):
    state: DeliveryState | None = None
    event: Name | None = None
    since: Moment | None = Field(None, description="Time of the change.")
    body: bool = Field(False, description="With the payload of each delivery.")


class PlaceQuery(Query):
    """Where the list has it: found by index then."""

    webhook: Number | None = Field(None, description="As the list has it; with `id` it costs less.")
    id: int | None = Field(None, ge=-(2**63), lt=2**63, description="As the list has it.")


class DeliveryOut(Out):
    id: int
    uid: UUID = Field(description="`webhook-id` of its requests.")
    webhook: int
    company: str | None
    event: str | None
    action: str
    key: str | None = Field(description="Of the row that was changed.")
    time: datetime = Field(description="Of the change.")
    state: str
    tries: int
    status: int | None = Field(description="HTTP status of the last answer.")
    error: str | None
    due_at: datetime | None = Field(description="Of the next try.")
    data: dict[str, Any] | None = Field(
        None, description="Of its payload: the action and addresses. `null`: none can be made."
    )
    body: str | None = Field(
        None,
        description="The payload, with `body=true`: as it was made for a try, if that is kept; "
        "else as it would be made now.",
    )


class DeliveryPage(Out):
    items: list[DeliveryOut] = Field(description="In the order of the list; there may be none.")
    next: str = Field(description="The `after` of the next page; there is always one.")
    more: bool = Field(description="There is more now. If not, ask again later.")
    final_until: datetime = Field(
        description="All that was committed until then is on a page before the end of the list."
    )


class DeliverySearchQuery(Paged):
    company: Text | None = Field(
        None, description="Without it and `webhook`: what waits or is dead, of all."
    )
    webhook: Number | None = None
    event: Name | None = None
    row: Text | None = Field(None, description="Key of the row that was changed.")
    state: DeliveryState | None = None
    since: Moment | None = Field(
        None, description="Time of the change; without: a day before `until`."
    )
    until: Moment | None = Field(None, description="Not included; without: now.")


class DeliverySearchPage(Out):
    items: list[DeliveryOut] = Field(description="The newest changes first; there may be none.")
    next: str | None = Field(description="There may be more, even if `items` is empty.")
    looked_until: datetime | None = Field(
        description="This page has looked back to changes of this time; `null`: to `since`."
    )
    webhooks: int = Field(
        description="How many were looked at: of a company 100 at most, without one 25."
    )


class AttemptOut(Out):
    at: datetime
    number: int = Field(description="1 for the first.")
    outcome: str
    status: int | None
    error: str | None
    detail: str
    duration_ms: float
    excerpt: str = Field(description="Of the answer's body.")


class DeliveryDetail(Out):
    id: int
    uid: UUID
    webhook: int
    company: str | None
    event: str | None
    action: str
    key: str | None
    time: datetime
    state: str
    due_at: datetime | None
    body: str | None = Field(description="As it is sent, as far as it is kept.")
    attempts: list[AttemptOut]


class DeliveryFound(Out):
    items: list[DeliveryDetail] = Field(
        description="One; several where a webhook-id was given to several webhooks."
    )


class RetryOut(Out):
    retried: int = Field(description="0: it waits already.")


class CancelOut(Out):
    cancelled: int = Field(description="0: it has ended already.")


class ReplayIn(In):
    webhook: Number | None = None
    company: Name | None = None
    event: Name | None = None
    outcomes: list[Outcome] = Field(["dead"], min_length=1, max_length=5)
    since: Moment | None = Field(None, description="Time of the change.")
    until: Moment | None = Field(None, description="Not included.")
    uids: list[UUID] | None = Field(None, min_length=1, max_length=1000)
    new_id: bool = Field(False, description="Under another `webhook-id`.")
    dry_run: bool = Field(False, description="Only counts.")


class ReplayGroup(Out):
    webhook: int
    company: str
    state: str
    outcome: str
    count: int


class ReplayCount(Out):
    total: int
    groups: list[ReplayGroup]
    skipped: dict[str, int]


class TrialIn(In):
    event: Name | None = Field(None, description="One of the webhook's; without: the first.")


class TrialOut(Out):
    ok: bool = Field(description="The receiver has accepted it.")
    uid: UUID = Field(description="Its `webhook-id`.")
    event: str
    status: int | None
    error: str | None
    detail: str
    cause: str | None = Field(description="Stable code, such as `status 503`.")
    sentence: str | None = Field(description="The cause, for people.")
    todo: str | None = Field(description="What to do about it; not for keys of a company.")
    duration_ms: float
    excerpt: str = Field(description="Of the answer's body.")


class TaskOut(Out):
    id: UUID
    kind: str = Field(description="`replay` or `test`; others may come.")
    state: Literal["waiting", "running", "done", "cancelled", "failed"]
    actor: str
    company: str | None
    webhook_id: int | None
    request: dict[str, Any]
    total: int | None
    done: int
    changed: int = Field(description="Deliveries that are sent again.")
    error: str | None = Field(description="Why it has failed: of a test, why it was not sent.")
    created_at: datetime
    ended_at: datetime | None
    result: TrialOut | None = Field(description="The result of a test.")


class BackfillIn(In):
    webhook: Number
    event: Name
    action: Literal["created", "modified"] = Field(description="What its rows are sent as.")
    since: Moment | None = Field(
        None, description="Only rows changed since then, where the mapping names `changed_at`."
    )
    dry_run: bool = Field(False, description="Only counts.")


class BackfillCountOut(Out):
    looked: int = Field(description="Rows that would be read.")
    wanted: int = Field(description="Of them, those that the webhook wants.")
    complete: bool = Field(description="These are all; false: at least as many.")


class BackfillQuery(Paged):
    webhook: Number | None = None


class BackfillOut(Out):
    id: int
    webhook_id: int
    company: str
    event: str
    action: str
    since: datetime | None
    state: Literal["running", "paused", "done", "cancelled", "failed"]
    reason: str
    looked: int = Field(description="Rows read.")
    queued: int = Field(description="Of them, those that the webhook wants.")
    last_key: str | None = Field(description="Of the last row read, in the order of reading.")
    actor: str
    created_at: datetime
    ended_at: datetime | None


class BackfillPage(Out):
    items: list[BackfillOut] = Field(description="The newest first.")
    next: str | None
