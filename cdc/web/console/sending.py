"""Sent on purpose: a test, or many deliveries again; and how far such a task is."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from cdc.causes.companies import met
from cdc.errors import CdcError
from cdc.web.api import deliveries, tasks
from cdc.web.console import times
from cdc.web.console.changes import Confirmation
from cdc.web.console.forms import checked
from cdc.web.console.visit import Page, Redirect, Visit
from cdc.web.console.webhooks import found
from cdc.web.delivery_models import ReplayCount, ReplayIn, TaskOut, TrialIn
from cdc.web.problems import Problem
from cdc.webhooks.model import Registration
from cdc.wording import counted

OUTCOMES = {
    "dead": "dead",
    "expired": "expired (held too long)",
    "dropped": "dropped (given up)",
    "delivered": "delivered",
    "retrying": "being retried",
}
SKIPPED = {
    "waiting": "already waits to be sent",
    "removed": "is of a removed webhook",
}
LOG_DAYS = {"delivered": 1}
"""Asked for without a time, of so many days: there may be very many."""

_UID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
LOCAL = "%Y-%m-%dT%H:%M"
_SELECTING = ("outcome", "event", "since", "until")


def ask_replay(visit: Visit) -> Page:
    return _replay(visit, found(visit), visit.query)


def replay(visit: Visit) -> Page | Redirect:
    webhook = found(visit)
    given = {name: visit.form.one(name) for name in _SELECTING}
    given |= dict.fromkeys(visit.form.every("uid"), "1")
    with visit.attempt() as attempt:
        body = checked(ReplayIn, _selected(webhook, given))
        made = deliveries.replay(visit.call(body=body)).body
        assert isinstance(made, TaskOut)
        return Redirect(f"/tasks/{made.id}")
    return _replay(visit, webhook, given, attempt.problem)


def _replay(
    visit: Visit, webhook: Registration, asked: Any, problem: Problem | None = None
) -> Page:
    """Which deliveries, how many these are, and what will happen to them."""
    ticked = _ticked(asked)
    given = {name: asked.get(name, "") for name in _SELECTING}
    given["outcome"] = given["outcome"] or "dead"
    if not given["since"] and given["outcome"] in LOG_DAYS:
        begin = datetime.now(times.reader()) - timedelta(days=LOG_DAYS[given["outcome"]])
        given["since"] = f"{begin:{LOCAL}}"
    count, uncounted = None, ""
    try:
        request = _selected(webhook, {**given, **dict.fromkeys(ticked, "1")})
        body = checked(ReplayIn, {**request, "dry_run": True})
        made = deliveries.replay(visit.call(body=body)).body
        assert isinstance(made, ReplayCount)
        count = made
    except Problem as refused:
        problem = problem or refused
    except CdcError:
        uncounted = "Counting these takes too long: choose a shorter time."
    values = {
        "webhook": webhook,
        "ticked": ticked,
        "given": given,
        "outcomes": OUTCOMES,
        "total": count.total if count else 0,
        "asked": _confirmation(webhook, count, len(ticked)) if count else None,
        "uncounted": uncounted,
        "problem": problem,
        "errors": problem.errors if problem else {},
    }
    return Page("replay.html", values, problem.status if problem else 200)


def _selected(webhook: Registration, asked: Any) -> dict[str, Any]:
    """What is asked of the API. Raises Problem for times that are none."""
    if ticked := _ticked(asked):
        return {"webhook": webhook.id, "uids": ticked, "outcomes": list(OUTCOMES)}
    found: dict[str, Any] = {"webhook": webhook.id, "outcomes": [asked.get("outcome") or "dead"]}
    if asked.get("event"):
        found["event"] = asked["event"]
    for name in ("since", "until"):
        if asked.get(name):
            found[name] = moment_of(name, asked[name])
    return found


def moment_of(name: str, text: str) -> datetime:
    """Of a field for a time in the reader's zone."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=times.reader()).astimezone(UTC)
    except (ValueError, OverflowError):
        error = "not a time such as 2026-01-31T10:00"
        raise Problem("invalid", errors={name: error}) from None


def _ticked(asked: Any) -> list[str]:
    return [name for name in asked if _UID.fullmatch(name)]


def _confirmation(webhook: Registration, count: ReplayCount, ticked: int) -> Confirmation:
    many = counted(count.total, "delivery", "deliveries")
    what = [
        f"{many.capitalize()} will be sent to {webhook.endpoint} again, changes of the same row in "
        "their order, each with a new retry budget.",
        "Each keeps its webhook-id, so a receiver that has it already recognises the repeat.",
    ]
    if webhook.state != "active":
        what.append(f"The webhook is {webhook.state}: they are sent when it is resumed.")
    for reason, number in sorted(count.skipped.items()):
        what.append(f"{number} of those selected {SKIPPED[reason]}, and stays as it is.")
    left = ticked - count.total - sum(count.skipped.values())
    if ticked and left > 0:
        what.append(f"{counted(left, 'delivery', 'deliveries')} of those selected was not found.")
    return Confirmation(f"Send {many} again", what, f"Send {many} again")


def ask_test(visit: Visit) -> Page:
    return _test(visit, found(visit))


def test(visit: Visit) -> Page | Redirect:
    webhook = found(visit)
    with visit.attempt() as attempt:
        body = checked(TrialIn, visit.form.filled("event"))
        made = tasks.test_webhook(visit.call(body=body)).body
        assert isinstance(made, TaskOut)
        return Redirect(f"/tasks/{made.id}")
    return _test(visit, webhook, attempt.problem)


def _test(visit: Visit, webhook: Registration, problem: Problem | None = None) -> Page:
    what = [
        f"A signed request with the action “test” is sent to {webhook.endpoint} at once, "
        "whatever else waits. No row of the suite is named in it.",
        "The next page shows what the receiver answers.",
    ]
    choices = ("event", "As the event", {one: one for one in webhook.events})
    asked = Confirmation(f"Test webhook {webhook.id}", what, "Send a test", choices=choices)
    path = f"/webhooks/{webhook.id}"
    return asked.page(f"{path}/test", path, webhook.version, problem)


def task(visit: Visit) -> Page:
    made = tasks.show_task(visit.call()).body
    assert isinstance(made, TaskOut)
    back = f"/webhooks/{made.webhook_id}" if made.webhook_id else "/"
    again = ""
    if made.kind == "test" and made.state in ("done", "failed"):
        again = f"{back}/test"
    values = {
        "task": made,
        "open": made.state in ("waiting", "running"),
        "met": met(made.result.cause or "", made.result.status)
        if made.result and visit.access.company_only
        else None,
        "back": back,
        "again": again,
        "query": urlencode({"state": "waiting"}),
    }
    return Page("task.html", values)


def cancel(visit: Visit) -> Redirect:
    tasks.cancel_task(visit.call())
    return Redirect(f"/tasks/{visit.params['task_id']}")
