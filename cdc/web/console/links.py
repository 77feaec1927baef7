"""Links to the portal: asked for, and shown once."""

from __future__ import annotations

from cdc.web.api import installation
from cdc.web.console.forms import checked
from cdc.web.console.visit import Page, Visit
from cdc.web.models import PortalLinkIn, PortalLinkMade


def ask(visit: Visit) -> Page:
    company = visit.access.company(visit.query.get("company", "").strip())
    return Page("link_form.html", {"company": company, "problem": None})


def make(visit: Visit) -> Page:
    company = visit.form.one("company")
    with visit.attempt() as attempt:
        body = checked(PortalLinkIn, {"may": visit.form.every("may")})
        made = installation.create_link(visit.call(body=body, company=company)).body
        assert isinstance(made, PortalLinkMade)
        return Page("link.html", {"company": company, "link": made}, 201)
    values = {"company": company, "problem": attempt.problem}
    return Page("link_form.html", values, attempt.status)
