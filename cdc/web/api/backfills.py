"""Backfills: start, list, show, pause, resume, cancel."""

from __future__ import annotations

from dataclasses import asdict

from cdc.web import cursors
from cdc.web.call import ApiAnswer, Call
from cdc.web.delivery_models import BackfillCountOut, BackfillIn, BackfillOut, BackfillPage
from cdc.web.problems import about
from cdc.webhooks import backfills
from cdc.webhooks.backfills import Backfill


def start(call: Call) -> ApiAnswer:
    body: BackfillIn = call.body
    webhook = call.access.webhook(body.webhook, "webhook")
    asked = (call.service.mapping, webhook, body.event, body.action, body.since)
    if body.dry_run:
        with about("event"), call.service.pool.apart() as reading:
            found = backfills.count(call.conn, reading, *asked)
        return ApiAnswer(BackfillCountOut(**asdict(found)))
    with about("event"):
        made = backfills.start(call.conn, call.actor, *asked)
    return ApiAnswer(_shown(made), 201, {"Location": f"/v1/backfills/{made.id}"})


def listed(call: Call) -> ApiAnswer:
    query, access = call.query, call.access
    after = cursors.place(query.after, int)
    found = backfills.search(
        call.conn,
        access.webhook_only if query.webhook is None else access.webhook(query.webhook, "webhook"),
        company=access.company_only,
        before=int(after[0]) if after else None,
        most=query.limit + 1,
    )
    items, more = cursors.cut(found, query.limit)
    following = cursors.cursor(items[-1].id) if more else None
    return ApiAnswer(BackfillPage(items=[_shown(one) for one in items], next=following))


def show(call: Call) -> ApiAnswer:
    return ApiAnswer(_shown(call.access.backfill(_number(call))))


def pause(call: Call) -> ApiAnswer:
    return ApiAnswer(_shown(backfills.pause(call.conn, call.actor, _mine(call))))


def resume(call: Call) -> ApiAnswer:
    return ApiAnswer(_shown(backfills.resume(call.conn, call.actor, _mine(call))))


def cancel(call: Call) -> ApiAnswer:
    return ApiAnswer(_shown(backfills.cancel(call.conn, call.actor, _mine(call))))


def _number(call: Call) -> int:
    return int(call.params["backfill_id"])


def _mine(call: Call) -> int:
    return call.access.backfill(_number(call)).id


def _shown(one: Backfill) -> BackfillOut:
    shown = one.shown()
    place = shown.pop("place")
    return BackfillOut(**shown, last_key=place[-1] if place else None)
