"""Deliveries by company, webhook, time, event, row, state; or the one with an id."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from cdc.diagnosis.search import OWING_WEBHOOKS
from cdc.web.api import search
from cdc.web.console import times
from cdc.web.console.forms import checked
from cdc.web.console.sending import LOCAL, moment_of
from cdc.web.console.visit import Page, Redirect, Visit
from cdc.web.console.webhooks import STATES
from cdc.web.delivery_models import DeliverySearchPage, DeliverySearchQuery
from cdc.web.problems import Problem

FIELDS = ("company", "webhook", "event", "row", "state", "since", "until")


def show(visit: Visit) -> Page | Redirect:
    given = {name: visit.query.get(name, "").strip() for name in FIELDS}
    uid, after = visit.query.get("uid", "").strip(), visit.query.get("after", "")
    found: DeliverySearchPage | None = None
    problem = None
    try:
        if uid:
            return Redirect(f"/deliveries/{_uid(uid)}")
        made = search.search(visit.call(query=_asked(given, after))).body
        assert isinstance(made, DeliverySearchPage)
        found = made
    except Problem as refused:
        if refused.code not in ("invalid", "not_found"):
            raise
        problem = refused
    if not given["since"]:
        given["since"] = f"{datetime.now(times.reader()) - search.SEARCHED:{LOCAL}}"
    values = {
        "given": given,
        "uid": uid,
        "states": STATES,
        "events": sorted(visit.service.mapping.events),
        "found": found,
        "everywhere": visit.access.company_only is None and not given["company"] + given["webhook"],
        "most": OWING_WEBHOOKS,
        "older": _address(given, found.next) if found and found.next else "",
        "newest": _address(given) if after else "",
        "problem": problem,
        "errors": problem.errors if problem else {},
    }
    return Page("search.html", values, problem.status if problem else 200)


def _asked(given: dict[str, str], after: str) -> DeliverySearchQuery:
    """Raises Problem."""
    asked: dict[str, Any] = {name: value for name, value in given.items() if value}
    for name in ("since", "until"):
        if name in asked:
            asked[name] = moment_of(name, asked[name]).isoformat()
    return checked(DeliverySearchQuery, {**asked, **({"after": after} if after else {})})


def _uid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        error = "not a webhook-id such as 0f6ae0b3-5c0d-4a58-9d1c-6a3a2f3e9b57"
        raise Problem("invalid", errors={"uid": error}) from None


def _address(given: dict[str, str], after: str = "") -> str:
    return urlencode({name: value for name, value in {**given, "after": after}.items() if value})
