"""Companies: found by the beginning of their key or name; one with its webhooks."""

from __future__ import annotations

import re

from cdc.diagnosis import health
from cdc.diagnosis.health import LaneState
from cdc.web.api import installation
from cdc.web.console.forms import checked
from cdc.web.console.visit import Page, Redirect, Visit
from cdc.web.models import Companies, CompanyQuery
from cdc.web.problems import Problem
from cdc.webhooks import statements
from cdc.webhooks.model import Registration

WEBHOOKS_LISTED = 100

_UUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_NUMBER = re.compile(r"[1-9][0-9]{0,17}")


def find(visit: Visit) -> Page | Redirect:
    """Companies; also the webhook of this number, or the delivery with this webhook-id."""
    prefix = visit.query.get("prefix", "").strip()
    if _UUID.fullmatch(prefix):
        return Redirect(f"/deliveries/{prefix.lower()}")
    found = installation.companies(visit.call(query=checked(CompanyQuery, {"prefix": prefix}))).body
    assert isinstance(found, Companies)
    values = {
        "prefix": prefix,
        "webhook": _webhook(visit, prefix),
        "found": found.items,
        "most": installation.COMPANIES_FOUND,
        "named": visit.service.mapping.company.name is not None,
    }
    return Page("companies.html", values)


def _webhook(visit: Visit, text: str) -> Registration | None:
    if not _NUMBER.fullmatch(text):
        return None
    try:
        return visit.registry.get(visit.access.webhook(int(text)))
    except Problem:
        return None


def show(visit: Visit) -> Page:
    name = visit.query.get("name", "")
    if not name:
        raise Problem("not_found")
    return _page(visit, visit.access.company(name))


def own(visit: Visit) -> Page:
    """The company's own, in the portal."""
    return _page(visit, visit.access.company_only or "")


def _page(visit: Visit, company: str) -> Page:
    mine = visit.access.company_only is not None
    found = statements.search(visit.conn, company, removed=True, most=WEBHOOKS_LISTED + 1)
    name, unnamed = ("", False) if mine else visit.service.named(company)
    values = {
        "company": company,
        "name": name,
        "unnamed": unnamed,
        "webhooks": found[:WEBHOOKS_LISTED],
        "more": len(found) > WEBHOOKS_LISTED,
        "lanes": lanes(visit, [one.id for one in found]),
    }
    return Page("company.html", values)


def lanes(visit: Visit, webhooks: list[int]) -> dict[int, LaneState]:
    """What these webhooks owe."""
    with visit.service.pool.autocommit() as conn:
        return {lane.webhook_id: lane for lane in health.lanes(conn, webhooks)}
