"""A search for deliveries, the newest changes first: of a company or a webhook, or what all owe."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import sqlalchemy as sa

from cdc.diagnosis.deliveries import ENDS
from cdc.diagnosis.newest import NEWEST
from cdc.diagnosis.search import DeliverySearch
from cdc.diagnosis.search import search as search_deliveries
from cdc.schema.tables import registration
from cdc.web import cursors
from cdc.web.api.deliveries import before, but_uid
from cdc.web.call import ApiAnswer, Call
from cdc.web.delivery_models import DeliveryOut, DeliverySearchPage, DeliverySearchQuery
from cdc.web.problems import Problem

WEBHOOKS_SEARCHED = 100
"""Of a company: its newest."""
SEARCHED = timedelta(days=1)


def search(call: Call) -> ApiAnswer:
    query: DeliverySearchQuery = call.query
    webhooks = _webhooks(call, query)
    after = cursors.place(query.after, int, int, str)
    wanted = DeliverySearch(
        since=query.since or (query.until or datetime.now(UTC)) - SEARCHED,
        until=query.until,
        event=query.event,
        key=query.row,
        state=query.state,
    )
    with call.service.pool.autocommit() as conn:
        place = before(after) if after else NEWEST
        found = search_deliveries(conn, webhooks, wanted, query.limit, place)
    items = [DeliveryOut(uid=UUID(one["webhook_id"]), **but_uid(one)) for one in found.items]
    following = cursors.cursor(*found.after) if found.after else None
    page = DeliverySearchPage(
        items=items, next=following, looked_until=found.looked, webhooks=found.webhooks
    )
    return ApiAnswer(page)


def _webhooks(call: Call, query: DeliverySearchQuery) -> list[int] | None:
    """Those that are searched; None: all that owe something. Raises Problem."""
    access = call.access
    company = query.company if query.company is None else access.company(query.company, "company")
    webhook = query.webhook if query.webhook is not None else access.webhook_only
    if company is None and webhook is None:
        company = access.company_only
    if company is None and webhook is None:
        if query.state not in ENDS:
            return None
        text = "give a company or a webhook: without, only what waits or is dead is searched"
        raise Problem("invalid", text, errors={"company": text})
    chosen = sa.select(registration.c.id).order_by(registration.c.id.desc())
    if webhook is not None:
        chosen = chosen.where(registration.c.id == access.webhook(webhook, "webhook"))
    if company is not None:
        chosen = chosen.where(registration.c.company == company)
    return list(call.conn.scalars(chosen.limit(WEBHOOKS_SEARCHED)))
