"""A webhook: how it stands and why, what waits, its deliveries."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import urlencode

from cdc.diagnosis.deliveries import Failure, failures
from cdc.diagnosis.explain import Sentence, explain_webhook
from cdc.diagnosis.health import LaneState
from cdc.errors import CdcError
from cdc.model import WebhookState
from cdc.web.api import deliveries
from cdc.web.console import charts, for_companies, unverified
from cdc.web.console.companies import lanes
from cdc.web.console.forms import checked
from cdc.web.console.visit import Page, Visit
from cdc.web.delivery_models import DeliveryQuery
from cdc.webhooks import notices, statements
from cdc.webhooks.model import Registration
from cdc.webhooks.notices import NoticeFilter

STATES = ("waiting", "retrying", "dead", "delivered", "expired", "dropped")
NOTICES_LISTED = 5
DONE = {
    "paused": "Paused. Changes are collected until it is resumed.",
    "resumed": "Resumed. What waits is sent now.",
    "changed": "Changed.",
    "removed": "Removed for good.",
    "challenged": "A challenge is sent now. Its result appears below within a minute.",
    "verified": "The address is verified: notifications are sent to it.",
}
"""What a page says after a change."""


def found(visit: Visit) -> Registration:
    """The webhook of the address. Raises Problem."""
    return visit.registry.get(visit.access.webhook(int(visit.params["webhook_id"])))


def show(visit: Visit) -> Page:
    webhook = found(visit)
    asked = {name: visit.query[name] for name in ("state", "after") if visit.query.get(name)}
    query = checked(DeliveryQuery, {**asked, "limit": "25"})
    items, following = deliveries.newest(visit.call(query=query), query.state)
    state = visit.query.get("state", "")
    lane, now = lanes(visit, [webhook.id])[webhook.id], datetime.now(UTC)
    if visit.access.company_only is not None:
        failed = _failed(visit, lane)
        said, unread = for_companies.sentences(lane, now, failed), ""
    else:
        said, unread = _sentences(visit, webhook.id)
    if webhook.unverified_since is not None:  # says more than that it is paused
        first = unverified.sentences(visit, webhook, lane, now)
        said = [*first, *(one for one in said if one.code != "paused")]
    values = {
        "webhook": webhook,
        "alive": webhook.state is not WebhookState.REMOVED,
        "lane": lane,
        "sentences": said,
        "unread": unread,
        "day": charts.of_day(visit.service.tally, webhook.id),
        "notices": notices.listed(
            visit.conn, NoticeFilter(webhook=webhook.id, limit=NOTICES_LISTED)
        ),
        "scheme": statements.kept_scheme(visit.conn, webhook.id),
        "old_secret_until": statements.secrets_end(visit.conn, webhook.id),
        "states": STATES,
        "state": state,
        "deliveries": items,
        "older": urlencode({"state": state, "after": following}) if following else "",
        "first": "after" not in asked,
        "done": DONE.get(_done(visit, webhook), ""),
    }
    return Page("webhook.html", values)


def _done(visit: Visit, one: Registration) -> str:
    done = visit.query.get("done", "")
    return "verified" if done == "challenged" and one.unverified_since is None else done


def _failed(visit: Visit, lane: LaneState) -> list[Failure]:
    """What the log has of the delivery that is tried next."""
    if lane.error is None or lane.delivery is None:
        return []
    with visit.service.pool.autocommit() as conn:
        return failures(conn, lane.webhook_id, lane.delivery)


def _sentences(visit: Visit, number: int) -> tuple[list[Sentence], str]:
    """Or why they cannot be made."""
    try:
        shared = visit.service.common()
        with visit.service.pool.autocommit() as conn:
            return explain_webhook(conn, number, shared), ""
    except CdcError as error:
        return [], error.message
