"""Deliveries and their attempts; sending again, one or many."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from cdc.diagnosis import deliveries
from cdc.diagnosis import newest as newest_deliveries
from cdc.diagnosis.newest import Before
from cdc.postgres.connections import driver_of
from cdc.schema.tables import task
from cdc.web import cursors
from cdc.web.call import ApiAnswer, Call
from cdc.web.delivery_models import (
    CancelOut,
    DeliveryDetail,
    DeliveryFound,
    DeliveryOut,
    PlaceQuery,
    ReplayCount,
    ReplayGroup,
    ReplayIn,
    RetryOut,
    TaskOut,
)
from cdc.web.pool import LIMITS
from cdc.web.problems import Problem
from cdc.webhooks import audit
from cdc.webhooks.replay import OUTCOMES, Replay, ReplayFilter, Selection


def newest(call: Call, state: str | None) -> tuple[list[DeliveryOut], str | None]:
    """For the console: a page of the newest changes, and the cursor of the next one."""
    number = call.access.webhook(int(call.params["webhook_id"]))
    after = cursors.place(call.query.after, int, int, str)
    with call.service.pool.autocommit() as conn:
        found = newest_deliveries.newest(
            conn,
            number,
            call.query.limit + 1,
            state,
            before(after) if after else newest_deliveries.NEWEST,
        )
    items, more = cursors.cut(found, call.query.limit)
    following = None
    if more:
        following = cursors.cursor(items[-1]["xid"], items[-1]["id"], items[-1]["webhook_id"])
    return [DeliveryOut(uid=UUID(one["webhook_id"]), **but_uid(one)) for one in items], following


def show(call: Call) -> ApiAnswer:
    found = call.access.deliveries(_found(call, call.query))
    return ApiAnswer(DeliveryFound(items=[_detail(one) for one in found]))


def retry(call: Call) -> ApiAnswer:
    mine = call.access.deliveries(_found(call))
    uids = tuple(dict.fromkeys(one["webhook_id"] for one in mine))
    changed = 0
    # Of the transaction of this request.
    with Replay(driver_of(call.conn), call.actor) as replay:
        for webhook in sorted({one["webhook"] for one in mine}):
            wanted = ReplayFilter(uids=uids, webhook=webhook, outcomes=OUTCOMES)
            changed += sum(done for _, done in replay.run(replay.find(wanted)))
    return ApiAnswer(RetryOut(retried=changed))


def cancel(call: Call) -> ApiAnswer:
    mine = call.access.deliveries(_found(call))
    keys = [(one["webhook"], one["id"], one["webhook_id"]) for one in mine]
    with Replay(driver_of(call.conn), call.actor) as replay:
        return ApiAnswer(CancelOut(cancelled=replay.cancel(keys, "cancelled")))


def replay(call: Call) -> ApiAnswer:
    body: ReplayIn = call.body
    if body.webhook is not None:
        call.access.webhook(body.webhook, "webhook")
    company = body.company
    if call.access.company_only is not None:
        company = call.access.company(company or call.access.company_only, "company")
    chosen = (body.webhook, company, body.event, body.since, body.until, body.uids)
    if all(value is None for value in chosen):
        raise Problem("invalid", "nothing is selected: give webhook, company, event, time or uids")
    request = {**body.model_dump(mode="json", exclude={"dry_run"}), "company": company}
    if body.dry_run:
        with call.service.pool.autocommit() as conn, conn.transaction():
            conn.execute(LIMITS)
            with Replay(conn, call.actor) as replays:
                return ApiAnswer(_counted(replays.find(wanted(request))))
    made = call.conn.execute(
        sa.insert(task)
        .values(
            kind="replay",
            actor=call.actor.name,
            company=company or _company_of(call, body.webhook),
            webhook_id=body.webhook,
            request={**request, "source": call.actor.source, "request": call.actor.request},
        )
        .returning(task)
    )
    row = dict(made.mappings().one())
    audit.note(
        call.conn,
        call.actor,
        "task.create",
        company=row["company"],
        webhook=body.webhook,
        after={"task": str(row["id"]), "kind": "replay", **request},
    )
    return ApiAnswer(TaskOut(**row), 202, {"Location": f"/v1/tasks/{row['id']}"})


def wanted(request: dict[str, Any], ended_before: datetime | None = None) -> ReplayFilter:
    """What a request to replay means."""
    return ReplayFilter(
        uids=tuple(request["uids"]) if request["uids"] else None,
        webhook=request["webhook"],
        company=request["company"],
        event=request["event"],
        outcomes=tuple(request["outcomes"]),
        since=_time(request["since"]),
        until=_time(request["until"]),
        ended_before=ended_before,
    )


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _counted(selection: Selection) -> ReplayCount:
    groups = [
        ReplayGroup(**group._asdict(), count=count)
        for group, count in sorted(selection.groups.items())
    ]
    return ReplayCount(total=selection.total, groups=groups, skipped=dict(selection.skipped))


def _company_of(call: Call, webhook: int | None) -> str | None:
    return None if webhook is None else call.registry.get(webhook).company


def _found(call: Call, place: PlaceQuery | None = None) -> list[dict[str, Any]]:
    uid = str(UUID(call.params["uid"]))
    with call.service.pool.autocommit() as conn:
        if place is not None and None not in (place.webhook, place.id):
            found = deliveries.trace(conn, place.id, uid, place.webhook)
            if found:
                return found
        return deliveries.trace(conn, None, uid)


def _detail(one: dict[str, Any]) -> DeliveryDetail:
    attempts = [{**attempt, "number": attempt["try"]} for attempt in one["attempts"]]
    return DeliveryDetail(**{**but_uid(one), "uid": UUID(one["webhook_id"]), "attempts": attempts})


def but_uid(one: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in one.items() if name not in ("webhook_id", "refs", "xid")}


def before(place: list[str | int]) -> Before:
    xid, number, uid = place
    try:
        return Before(int(xid), int(number), str(UUID(str(uid))))
    except ValueError:
        raise cursors.unknown() from None
