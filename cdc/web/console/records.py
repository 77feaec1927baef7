"""Keys of the API, and the audit."""

from __future__ import annotations

from urllib.parse import urlencode

from cdc.web import keys
from cdc.web.api import installation
from cdc.web.console.changes import Confirmation
from cdc.web.console.forms import checked
from cdc.web.console.visit import FormAttempt, Page, Redirect, Visit
from cdc.web.models import AuditPage, AuditQuery, KeyIn, KeyMade
from cdc.web.problems import Problem

SCOPES = ("read", "operator", "admin", "company", "webhook")
KEYS_LISTED = 100


def list_keys(visit: Visit) -> Page:
    return _keys(visit, visit.attempt())


def make_key(visit: Visit) -> Page:
    form = visit.form
    with visit.attempt() as attempt:
        kind, value = form.one("kind"), form.one("value")
        scope = f"{kind}:{value}" if kind in ("company", "webhook") else kind
        if value and kind not in ("company", "webhook"):
            raise Problem("invalid", errors={"value": f"a key of scope {kind} is for all of them"})
        days = form.one("days")
        if days and not (days.isascii() and days.isdecimal() and 0 < int(days[:6]) <= 3650):
            raise Problem("invalid", errors={"days": "expected 1 to 3650, or nothing"})
        given = {"scope": scope, "description": form.one("description")}
        expires = {"expires": str(int(days) * 86_400)} if days else {}
        made = installation.create_key(visit.call(body=checked(KeyIn, {**given, **expires}))).body
        assert isinstance(made, KeyMade)
        return Page("key.html", {"key": made}, 201)
    return _keys(visit, attempt)


def _keys(visit: Visit, attempt: FormAttempt) -> Page:
    found = keys.listed(visit.conn, limit=KEYS_LISTED + 1)
    own = visit.access.key.id
    values = {
        "keys": found[:KEYS_LISTED],
        "more": len(found) > KEYS_LISTED,
        "own": own,
        "scopes": SCOPES,
        "given": {n: visit.form.one(n) for n in ("kind", "value", "description", "days")},
        "errors": attempt.errors,
        "problem": attempt.problem,
        "done": "The key is revoked." if visit.query.get("done") == "revoked" else "",
    }
    return Page("keys.html", values, attempt.status)


def ask_revoke(visit: Visit) -> Page:
    number = visit.params["key_id"]
    found = next((one for one in keys.listed(visit.conn) if one["id"] == number), None)
    if found is None:
        raise Problem("not_found")
    what = [
        f"The key {number} ({found['scope']}) is revoked for good.",
        "Sessions of this console that began with it end.",
    ]
    if number == visit.access.key.id:
        what.append("It is the key that you are signed in with.")
    if found["description"]:
        what.insert(1, f"It is described as: {found['description']}")
    asked = Confirmation("Revoke a key", what, "Revoke for good", danger=True)
    return asked.page(f"/keys/{number}/revoke", "/keys")


def revoke(visit: Visit) -> Redirect:
    installation.revoke_key(visit.call())
    return Redirect("/keys?done=revoked")


def audit(visit: Visit) -> Page:
    names = ("company", "webhook", "actor", "action")
    given = {name: value for name in names if (value := visit.query.get(name, "").strip())}
    after = {"after": visit.query["after"]} if visit.query.get("after") else {}
    problem, page = None, AuditPage(items=[], next=None)
    try:
        query = checked(AuditQuery, {**given, **after})
        found = installation.list_audit(visit.call(query=query)).body
        assert isinstance(found, AuditPage)
        page = found
    except Problem as raised:
        problem = raised
    values = {
        "entries": page.items,
        "older": urlencode({**given, "after": page.next}) if page.next else "",
        "given": {**dict.fromkeys(names, ""), **given},
        "problem": problem,
        "errors": problem.errors if problem else {},
        "first": not after,
    }
    return Page("audit.html", values, problem.status if problem else 200)
