"""The overview: what `cdc status` knows."""

from __future__ import annotations

from cdc.diagnosis.status import StatusReport
from cdc.errors import CdcError
from cdc.web.console.visit import Page, Visit

LISTED = 50
"""Webhooks on the page, the worst first."""


def show(visit: Visit) -> Page:
    report, unread = _report(visit)
    values = {
        "report": report,
        "unread": unread,
        "webhooks": report.webhooks[:LISTED] if report else [],
        "more": max(0, len(report.webhooks) - LISTED) if report else 0,
    }
    return Page("overview.html", values)


def _report(visit: Visit) -> tuple[StatusReport | None, str]:
    """Or why it cannot be read."""
    try:
        return visit.service.status(None), ""
    except CdcError as error:
        return None, error.message
