"""Register a webhook, and edit one: the same form."""

from __future__ import annotations

from typing import Any

from cdc.errors import UsageError
from cdc.model import USUAL_ACTIONS
from cdc.web.api import installation
from cdc.web.api import webhooks as api
from cdc.web.console import forms
from cdc.web.console.forms import Form, checked
from cdc.web.console.visit import FormAttempt, Page, Redirect, Visit
from cdc.web.console.webhooks import found
from cdc.web.models import Events, WebhookIn, WebhookMade, WebhookPatch
from cdc.web.problems import Problem
from cdc.webhooks import checks
from cdc.webhooks.model import Registration

_TEXTS = ("endpoint", "description", "ref", "rate_limit", "max_concurrency", "tls_profile")


def new(visit: Visit) -> Page:
    return _form(visit, None, {"company": visit.query.get("company", "")}, visit.attempt())


def add(visit: Visit) -> Page:
    form = visit.form
    with visit.attempt() as attempt:
        company = _company(visit)
        given: dict[str, Any] = form.filled(*_texts(visit), "signature")
        given["events"] = _events(form)
        given |= {"actions": _actions(form), "filter": forms.filters(form.one("filter"))}
        given |= {"changed": _changed(form), "include": forms.names(form.one("include"))}
        if not form.one("endpoint"):
            raise Problem("invalid", errors={"endpoint": "give the URL to POST to"})
        given["headers"] = forms.headers(form.one("headers"))
        made = api.add(visit.call(body=checked(WebhookIn, given), company=company)).body
        assert isinstance(made, WebhookMade)
        values = {
            "title": f"Webhook {made.id} of company {made.company} is registered",
            "secret": made.secret,
            "public_key": made.public_key,
            "old_secret_until": None,
            "back": f"/webhooks/{made.id}",
            "company": made.company,
            "unnamed": visit.access.company_only is None and visit.service.named(made.company)[1],
        }
        return Page("secret.html", values, 201)
    return _form(visit, None, _sent(form), attempt)


def edit(visit: Visit) -> Page:
    return _form(visit, (one := found(visit)), _of(one), visit.attempt())


def change(visit: Visit) -> Page | Redirect:
    form, one = visit.form, found(visit)
    before = _of(one)
    with visit.attempt() as attempt:
        given: dict[str, Any] = {}
        if (events := _events(form)) != before["events"]:
            given["events"] = events
        for name in _texts(visit):
            if (value := form.one(name)) != before[name]:
                given[name] = value or ("" if name == "description" else None)
        if (actions := _actions(form)) != before["actions"]:
            given["actions"] = actions
        if forms.lines(form.one("filter")) != forms.lines(before["filter"]):
            given["filter"] = forms.filters(form.one("filter"))
        if (changed := _changed(form)) != (None if one.changed is None else list(one.changed)):
            given["changed"] = changed
        if (include := forms.names(form.one("include"))) != list(one.include):
            given["include"] = include
        if form.one("headers"):
            given["headers"] = forms.headers(form.one("headers"))
        elif form.one("no_headers"):
            given["headers"] = None
        body = checked(WebhookPatch, given)
        api.change(visit.call(body=body, version=form.version))
        return Redirect(f"/webhooks/{one.id}?done=changed")
    return _form(visit, one, _sent(form), attempt)


def _form(
    visit: Visit, one: Registration | None, given: dict[str, Any], attempt: FormAttempt
) -> Page:
    events = installation.events(visit.call()).body
    assert isinstance(events, Events)
    values = {
        "webhook": one,
        "events": events.items,
        "deleted": visit.call().registry.rules.deleted,
        "given": {**_EMPTY, **given},
        "errors": attempt.errors,
        "problem": attempt.problem,
        "version": visit.form.version or one.version if one else 0,
        "header_names": list(one.headers) if one else [],
    }
    return Page("webhook_form.html", values, attempt.status)


_EMPTY: dict[str, Any] = {
    **dict.fromkeys(("company", "headers", "filter", "fields", "include", *_TEXTS), ""),
    "events": [],
    "actions": list(USUAL_ACTIONS),
    "changed": "any",
    "signature": "v1",
}


def _of(one: Registration) -> dict[str, Any]:
    """A webhook's values as the form shows them."""
    return {
        "company": one.company,
        "events": list(one.events),
        "endpoint": one.endpoint,
        "description": one.description,
        "ref": one.ref or "",
        "rate_limit": "" if one.rate is None else f"{one.rate:g}",
        "max_concurrency": str(one.cap),
        "tls_profile": one.tls_profile or "",
        "actions": list(one.actions),
        "filter": "\n".join(f"{name}={','.join(values)}" for name, values in one.filter.items()),
        "changed": "any" if one.changed is None else "fields" if one.changed else "row",
        "fields": ", ".join(one.changed or ()),
        "include": ", ".join(one.include),
    }


def _sent(form: Form) -> dict[str, Any]:
    """What was sent, to be corrected."""
    names = ("company", "headers", "signature", "filter", "changed", "fields", "include")
    texts = {name: form.one(name) for name in (*names, *_TEXTS)}
    return {**texts, "events": form.every("events"), "actions": form.every("actions")}


def _texts(visit: Visit) -> tuple[str, ...]:
    """Fields of the form. Capacity and certificates are not for a company to choose."""
    own = visit.access.company_only is not None
    return _TEXTS[:-2] if own else _TEXTS


def _company(visit: Visit) -> str:
    if visit.access.company_only is not None:
        return visit.access.company_only
    company = visit.form.one("company")
    if not company:
        raise Problem("invalid", errors={"company": "give the company's key in the suite"})
    try:
        checks.company(company)
    except UsageError:
        raise Problem("invalid", errors={"company": "not a company's key"}) from None
    return company


def _events(form: Form) -> list[str]:
    events = form.every("events")
    if not events:
        raise Problem("invalid", errors={"events": "choose at least one event"})
    return events


def _actions(form: Form) -> list[str]:
    actions = form.every("actions")
    if not actions:
        raise Problem("invalid", errors={"actions": "choose at least one"})
    return actions


def _changed(form: Form) -> list[str] | None:
    """What an update must have changed, as the API has it."""
    fields = forms.names(form.one("fields"))
    match form.one("changed"):
        case "row":
            return []
        case "fields" if fields:
            return fields
        case "fields":
            raise Problem("invalid", errors={"changed": "name the fields, with commas between"})
    return None
