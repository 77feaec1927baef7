"""The overview: what `cdc status` knows."""

from __future__ import annotations

from cdc.diagnosis.status import StatusReport
from cdc.errors import CdcError
from cdc.web.console import charts
from cdc.web.console.visit import Page, Visit
from cdc.webhooks import notices
from cdc.webhooks.notices import NoticeFilter

WEBHOOKS_LISTED = 50
"""Webhooks on the page, the worst first."""
NOTICES_LISTED = 8


def show(visit: Visit) -> Page:
    report, unread = _report(visit)
    values = {
        "report": report,
        "unread": unread,
        "day": charts.of_day(visit.service.tally),
        "notices": notices.listed(visit.conn, NoticeFilter(limit=NOTICES_LISTED)),
        "webhooks": report.webhooks[:WEBHOOKS_LISTED] if report else [],
        "more": max(0, len(report.webhooks) - WEBHOOKS_LISTED) if report else 0,
    }
    return Page("overview.html", values)


def _report(visit: Visit) -> tuple[StatusReport | None, str]:
    """Or why it cannot be read."""
    try:
        return visit.service.status(None), ""
    except CdcError as error:
        return None, error.message
