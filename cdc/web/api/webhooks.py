"""Webhooks: list, register, change, pause, resume, remove, rotate."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from cdc.deliver.trust import check_name
from cdc.message import signing_keys
from cdc.message.signing import check_headers
from cdc.message.signing_keys import Scheme
from cdc.model import UNVERIFIED, USUAL_ACTIONS, WebhookState
from cdc.web import cursors
from cdc.web.call import ApiAnswer, Call
from cdc.web.models import RotateOut, WebhookIn, WebhookMade, WebhookOut, WebhookPage, WebhookPatch
from cdc.web.problems import Problem, about
from cdc.webhooks import checks, statements
from cdc.webhooks.model import Changes, NewWebhook, Registration


def listed(call: Call) -> ApiAnswer:
    return _page(call, call.access.company(call.params["company"]))


def listed_all(call: Call) -> ApiAnswer:
    """Of all companies, or what there is for the key."""
    access, company = call.access, call.query.company
    asked = access.company_only if company is None else access.company(company, "company")
    return _page(call, asked)


def _page(call: Call, company: str | None) -> ApiAnswer:
    query = call.query
    after = cursors.place(query.after, int)
    found = statements.search(
        call.conn,
        company,
        query.event,
        WebhookState(query.state) if query.state else None,
        number=call.access.webhook_only,
        ref=query.ref,
        after=int(after[0]) if after else 0,
        most=query.limit + 1,
    )
    items, more = cursors.cut(found, query.limit)
    following = cursors.cursor(items[-1].id) if more else None
    return ApiAnswer(WebhookPage(items=[shown(one) for one in items], next=following))


def add(call: Call) -> ApiAnswer:
    body: WebhookIn = call.body
    company = call.access.company(call.params["company"])
    _operators_only(call, body)
    with about("company"):
        checks.company(company)
    _check(call, body, body.events)
    added = call.registry.add(
        NewWebhook(
            company=company,
            events=tuple(body.events),
            endpoint=body.endpoint,
            description=body.description,
            actions=tuple(body.actions),
            filter=body.filter,
            changed=None if body.changed is None else tuple(body.changed),
            include=tuple(body.include),
            cap=body.max_concurrency,
            rate=body.rate_limit,
            headers=body.headers,
            scheme=Scheme(body.signature),
            tls_profile=body.tls_profile,
            ref=body.ref,
            **_unverified(call),
        )
    )
    made = WebhookMade(**shown(added.webhook).model_dump(), **secret(added.secret))
    headers = {"Location": f"/v1/webhooks/{added.webhook.id}", **tag(added.webhook)}
    return ApiAnswer(made, 201, headers)


def show(call: Call) -> ApiAnswer:
    return _answer(call.registry.get(call.access.webhook(_id(call))))


def change(call: Call) -> ApiAnswer:
    body: WebhookPatch = call.body
    number = call.access.webhook(_id(call))
    given = body.model_fields_set
    for field in ("events", "endpoint"):
        if field in given and getattr(body, field) is None:
            raise Problem("invalid", errors={field: "a webhook cannot be without it"})
    _operators_only(call, body)
    asks = body.actions or body.filter or body.changed is not None or body.include
    _check(call, body, body.events or (call.registry.get(number).events if asks else ()))
    changes = Changes(
        events=tuple(body.events) if body.events is not None else None,
        endpoint=body.endpoint,
        description=(body.description or "") if "description" in given else None,
        actions=tuple(body.actions or USUAL_ACTIONS) if "actions" in given else None,
        filter=(body.filter or {}) if "filter" in given else None,
        changed=("any" if body.changed is None else tuple(body.changed))
        if "changed" in given
        else None,
        include=tuple(body.include or ()) if "include" in given else None,
        cap=(body.max_concurrency or call.registry.rules.cap)
        if "max_concurrency" in given
        else None,
        rate=(body.rate_limit or 0.0) if "rate_limit" in given else None,
        headers=(body.headers or {}) if "headers" in given else None,
        tls_profile=(body.tls_profile or "") if "tls_profile" in given else None,
        ref=(body.ref or "") if "ref" in given else None,
    )
    if changes == Changes():
        return _answer(call.registry.get(number))
    unverified = bool(_unverified(call))
    return _answer(call.registry.update(number, changes, call.if_match, unverified=unverified))


def pause(call: Call) -> ApiAnswer:
    return _answer(call.registry.pause(call.access.webhook(_id(call)), call.body.reason))


def resume(call: Call) -> ApiAnswer:
    if call.body.unverified and call.access.company_only is not None:
        raise Problem("forbidden", errors={"unverified": "only an operator's key can set this"})
    number = call.access.webhook(_id(call))
    return _answer(call.registry.resume(number, unverified=call.body.unverified))


def remove(call: Call) -> ApiAnswer:
    call.registry.remove(call.access.webhook(_id(call)), version=call.if_match)
    return ApiAnswer(None, 204)


def rotate(call: Call) -> ApiAnswer:
    number = call.access.webhook(_id(call))
    statements.alive(call.conn, number, lock=False)
    given = call.body.signature
    scheme = Scheme(given) if given else statements.kept_scheme(call.conn, number)
    if scheme is None:
        raise Problem(
            "invalid",
            "how the webhook signs is not known here: it was registered by an earlier version",
            errors={"signature": "expected v1 or v1a"},
        )
    grace = timedelta(seconds=call.body.grace)
    done = call.registry.rotate_secret(number, grace, scheme=scheme)
    made = RotateOut(
        id=number,
        old_secret_until=done.old_until,
        version=done.webhook.version,
        **secret(done.secret),
    )
    return ApiAnswer(made, headers=tag(done.webhook))


def shown(one: Registration) -> WebhookOut:
    given = one.shown()
    given["max_concurrency"], given["rate_limit"] = given.pop("cap"), given.pop("rate")
    return WebhookOut(**given)


def secret(made: str) -> dict[str, Any]:
    """A new secret, as it is shown. Of a key pair only the public part."""
    scheme = signing_keys.scheme_of(made)
    paired = scheme is Scheme.V1A
    return {
        "signature": str(scheme),
        "secret": None if paired else made,
        "public_key": signing_keys.public_key(made) if paired else None,
    }


def tag(one: Registration) -> dict[str, str]:
    return {"ETag": f'"{one.version}"'}


def _answer(one: Registration) -> ApiAnswer:
    return ApiAnswer(shown(one), headers=tag(one))


def _id(call: Call) -> int:
    return int(call.params["webhook_id"])


def _unverified(call: Call) -> dict[str, Any]:
    """What a company enters itself is proven before its first delivery."""
    if call.access.company_only is None or call.service.settings.challenge == "off":
        return {}
    return {"state": WebhookState.PAUSED, "reason": UNVERIFIED, "unverified": True}


def _operators_only(call: Call, body: WebhookIn | WebhookPatch) -> None:
    """Certificates and capacity are the operator's."""
    if call.access.company_only is None:
        return
    for field in ("tls_profile", "max_concurrency"):
        if getattr(body, field) is not None:
            raise Problem("forbidden", errors={field: "only an operator's key can set this"})


def _check(call: Call, body: WebhookIn | WebhookPatch, events: Sequence[str]) -> None:
    """What the registry checks as well; here with the name of the field."""
    rules = call.registry.rules
    if body.events is not None:
        with about("events"):
            checks.checked_events(body.events, rules)
    if body.actions:
        with about("actions"):
            checks.checked_actions(body.actions, events, rules)
    if body.filter:
        with about("filter"):
            checks.checked_filter(body.filter, events, rules)
    if body.changed is not None:
        with about("changed"):
            checks.checked_changed(body.changed, events, rules)
    if body.include:
        with about("include"):
            checks.checked_include(body.include, events, rules)
    if body.endpoint is not None:
        with about("endpoint"):
            checks.checked_endpoint(body.endpoint, rules)
    if body.headers:
        with about("headers"):
            check_headers(body.headers, body.endpoint or "")
    if body.tls_profile:
        with about("tls_profile"):
            check_name(body.tls_profile)
    if body.ref is not None:
        with about("ref"):
            checks.check_ref(body.ref)
