"""The whole installation: events, companies, keys, portal links, audit, notices."""

from __future__ import annotations

from datetime import timedelta

import sqlalchemy as sa

from cdc.model import SYSTEM
from cdc.schema.tables import registration
from cdc.web import cursors, keys, sessions
from cdc.web.call import ApiAnswer, Call
from cdc.web.keys import Scope
from cdc.web.models import (
    AuditEntry,
    AuditPage,
    Companies,
    CompanyOut,
    Event,
    Events,
    KeyMade,
    KeyOut,
    KeyPage,
    PortalLinkMade,
)
from cdc.web.notice_models import NoticeOut, NoticePage
from cdc.web.problems import Problem, about
from cdc.webhooks import audit
from cdc.webhooks.audit import AuditFilter
from cdc.webhooks.notices import NoticeFilter, listed

COMPANIES_FOUND = 50


def events(call: Call) -> ApiAnswer:
    found = [
        Event(
            name=resource.event or "",
            table=str(resource.table),
            data=["action", *resource.data],
            fields=None if resource.fields is None else list(resource.fields),
        )
        for resource in call.service.mapping.captured
    ]
    return ApiAnswer(Events(items=found))


def companies(call: Call) -> ApiAnswer:
    prefix = call.query.prefix
    names = call.service.company_names(None, prefix) if prefix else {}
    column = registration.c.company
    query = (
        sa.select(column, sa.func.count())
        .where(registration.c.state != "removed", column != SYSTEM)
        .where(column.startswith(prefix, autoescape=True) | column.in_(list(names)))
        .group_by(column)
        .order_by(column)
        .limit(COMPANIES_FOUND)
    )
    webhooks = {key: count for key, count in call.conn.execute(query)}
    names |= call.service.company_names([key for key in webhooks if key not in names])
    keys = sorted({*webhooks, *names})[:COMPANIES_FOUND]
    found = [
        CompanyOut(company=key, name=names.get(key), webhooks=webhooks.get(key, 0)) for key in keys
    ]
    return ApiAnswer(Companies(items=found))


def list_keys(call: Call) -> ApiAnswer:
    after = cursors.place(call.query.after, str)
    found = keys.listed(call.conn, str(after[0]) if after else "", call.query.limit + 1)
    items, more = cursors.cut(found, call.query.limit)
    following = cursors.cursor(items[-1]["id"]) if more else None
    return ApiAnswer(KeyPage(items=[KeyOut(**one) for one in items], next=following))


def create_key(call: Call) -> ApiAnswer:
    seconds = call.body.expires
    with about("scope"):
        row, key = keys.create(
            call.conn,
            call.actor,
            Scope.parse(call.body.scope),
            description=call.body.description,
            expires=None if seconds is None else timedelta(seconds=seconds),
        )
    return ApiAnswer(KeyMade(**row, key=key), 201, {"Location": f"/v1/keys/{row['id']}"})


def create_link(call: Call) -> ApiAnswer:
    company = call.access.company(call.params["company"])
    with about("company"):
        link, ends = sessions.new_link(call.conn, call.actor, company, call.body.may)
    url = sessions.address(call.service.settings, link)
    return ApiAnswer(PortalLinkMade(url=url, expires_at=ends), 201)


def revoke_key(call: Call) -> ApiAnswer:
    try:
        keys.revoke(call.conn, call.actor, call.params["key_id"])
    except keys.UnknownKey:
        raise Problem("not_found") from None
    return ApiAnswer(None, 204)


def list_audit(call: Call) -> ApiAnswer:
    query = call.query
    after = cursors.place(query.after, int)
    wanted = AuditFilter(
        company=query.company,
        webhook=query.webhook,
        actor=query.actor,
        action=query.action,
        since=query.since,
        before=int(after[0]) if after else None,
        limit=query.limit + 1,
    )
    items, more = cursors.cut(audit.entries(call.conn, wanted), query.limit)
    following = cursors.cursor(items[-1]["id"]) if more else None
    return ApiAnswer(AuditPage(items=[AuditEntry(**one) for one in items], next=following))


def list_notices(call: Call) -> ApiAnswer:
    query, access = call.query, call.access
    after = cursors.place(query.after, int)
    company, webhook = access.company_only, access.webhook_only
    if query.company is not None:
        company = access.company(query.company, "company")
    if query.webhook is not None:
        webhook = access.webhook(query.webhook, "webhook")
    wanted = NoticeFilter(company, webhook, int(after[0]) if after else None, query.limit + 1)
    items, more = cursors.cut(listed(call.conn, wanted), query.limit)
    following = cursors.cursor(items[-1]["id"]) if more else None
    return ApiAnswer(NoticePage(items=[NoticeOut(**one) for one in items], next=following))
