"""Backfills of a webhook: counted, started, shown; paused, resumed, cancelled."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from cdc.errors import CdcError
from cdc.web.api import backfills as api
from cdc.web.console.changes import Confirmation
from cdc.web.console.forms import checked
from cdc.web.console.sending import moment_of
from cdc.web.console.visit import Page, Redirect, Visit
from cdc.web.console.webhooks import found
from cdc.web.delivery_models import BackfillCountOut, BackfillIn, BackfillOut, BackfillQuery
from cdc.web.delivery_models import BackfillPage as Listed
from cdc.web.problems import Problem
from cdc.webhooks.model import Registration
from cdc.wording import counted

ACTIONS = {
    "created": "created, as if each row were new",
    "modified": "modified, as if each row had changed",
}
_SELECTING = ("event", "action", "since")
_CAN = {
    "running": ("pause", "cancel"),
    "paused": ("resume", "cancel"),
    "failed": ("resume", "cancel"),
}
"""What can be done with a backfill in this state."""


def listed(visit: Visit) -> Page:
    webhook = found(visit)
    after = {"after": visit.query["after"]} if visit.query.get("after") else {}
    query = checked(BackfillQuery, {"webhook": webhook.id, "limit": "25", **after})
    page = api.listed(visit.call(query=query)).body
    assert isinstance(page, Listed)
    values = {
        "webhook": webhook,
        "backfills": page.items,
        "older": urlencode({"after": page.next}) if page.next else "",
        "first": not after,
    }
    return Page("backfills.html", values)


def ask_start(visit: Visit) -> Page:
    return _form(visit, found(visit), {name: visit.query.get(name, "") for name in _SELECTING})


def start(visit: Visit) -> Page | Redirect:
    webhook = found(visit)
    given = {name: visit.form.one(name) for name in _SELECTING}
    with visit.attempt() as attempt:
        made = api.start(visit.call(body=_wanted(webhook, given))).body
        assert isinstance(made, BackfillOut)
        return Redirect(f"/backfills/{made.id}")
    return _form(visit, webhook, given, attempt.problem)


def _form(
    visit: Visit, webhook: Registration, given: dict[str, str], problem: Problem | None = None
) -> Page:
    """Which rows; and, once that was chosen, how many these are."""
    count, uncounted = None, ""
    if given["event"]:
        try:
            made = api.start(visit.call(body=_wanted(webhook, given, dry_run=True))).body
            assert isinstance(made, BackfillCountOut)
            count = made
        except Problem as refused:
            problem = problem or refused
        except CdcError as error:
            uncounted = error.message
    events = visit.service.mapping.events
    dated = any(name in events and events[name].changed_at for name in webhook.events)
    values: dict[str, Any] = {
        "webhook": webhook,
        "given": given,
        "actions": {name: words for name, words in ACTIONS.items() if name in webhook.actions},
        "dated": dated,
        "asked": _confirmation(webhook, given["event"], count) if count else None,
        "total": count.wanted if count else 0,
        "uncounted": uncounted,
        "problem": problem,
        "errors": problem.errors if problem else {},
    }
    return Page("backfill_form.html", values, problem.status if problem else 200)


def _wanted(webhook: Registration, given: dict[str, str], *, dry_run: bool = False) -> BackfillIn:
    """Raises Problem for a time that is none."""
    since = {"since": moment_of("since", given["since"])} if given["since"] else {}
    asked = {"webhook": webhook.id, "event": given["event"], "action": given["action"]}
    return checked(BackfillIn, {**asked, **since, "dry_run": dry_run})


def _confirmation(webhook: Registration, event: str, count: BackfillCountOut) -> Confirmation:
    least = "" if count.complete else "at least "
    many = least + counted(count.wanted, "delivery", "deliveries")
    what = [
        f"{many.capitalize()} of {event} will be sent, one for each row "
        f"of the company that the webhook wants. {least.capitalize()}"
        f"{counted(count.looked, 'row')} will be read.",
        "Live changes go first: these rows are queued a few at a time behind them.",
        "It can be paused and cancelled. What is queued by then is still sent.",
    ]
    if webhook.state != "active":
        what.append(f"The webhook is {webhook.state}: it begins when that is resumed.")
    return Confirmation(f"Send {many}", what, "Start")


def show(visit: Visit) -> Page:
    one = _one(visit)
    values = {
        "one": one,
        "open": one.state == "running",
        "can": _CAN.get(one.state, ()),
    }
    return Page("backfill.html", values)


def _one(visit: Visit) -> BackfillOut:
    """The backfill of the address. Raises Problem."""
    made = api.show(visit.call()).body
    assert isinstance(made, BackfillOut)
    return made


def _pause(one: BackfillOut) -> Confirmation:
    return Confirmation(
        f"Pause backfill {one.id}",
        [
            f"No more rows of {one.event} are read until it is resumed.",
            "What is queued already is still sent.",
            f"{counted(one.looked, 'row').capitalize()} were read so far.",
        ],
        "Pause",
    )


def _resume(one: BackfillOut) -> Confirmation:
    return Confirmation(
        f"Resume backfill {one.id}",
        [f"Rows of {one.event} are read on: {counted(one.looked, 'row')} so far."],
        "Resume",
    )


def _cancel(one: BackfillOut) -> Confirmation:
    return Confirmation(
        f"Cancel backfill {one.id}",
        [
            f"No more rows of {one.event} are read, and it cannot be resumed.",
            "What is queued already is still sent.",
            f"{counted(one.looked, 'row').capitalize()} were read so far.",
        ],
        "Cancel the backfill",
        danger=True,
    )


_ASKED = {"pause": _pause, "resume": _resume, "cancel": _cancel}
_DONE = {"pause": api.pause, "resume": api.resume, "cancel": api.cancel}


def _question(visit: Visit, what: str, problem: Problem | None = None) -> Page:
    one = _one(visit)
    path = f"/backfills/{one.id}"
    return _ASKED[what](one).page(f"{path}/{what}", path, problem=problem)


def _done(visit: Visit, what: str) -> Page | Redirect:
    with visit.attempt() as attempt:
        _DONE[what](visit.call())
        return Redirect(f"/backfills/{visit.params['backfill_id']}")
    return _question(visit, what, attempt.problem)


def ask_pause(visit: Visit) -> Page:
    return _question(visit, "pause")


def ask_resume(visit: Visit) -> Page:
    return _question(visit, "resume")


def ask_cancel(visit: Visit) -> Page:
    return _question(visit, "cancel")


def pause(visit: Visit) -> Page | Redirect:
    return _done(visit, "pause")


def resume(visit: Visit) -> Page | Redirect:
    return _done(visit, "resume")


def cancel(visit: Visit) -> Page | Redirect:
    return _done(visit, "cancel")
