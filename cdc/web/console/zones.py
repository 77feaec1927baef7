"""The reader's zone, chosen by hand: without JavaScript the browser does not say it."""

from __future__ import annotations

from cdc.web.console import times
from cdc.web.console.visit import Page, Redirect, Visit


def choose(visit: Visit) -> Page | Redirect:
    """A page with all zones; with one that was chosen, back to the first page."""
    chosen = visit.query.get("zone", "")
    if chosen in times.zones():
        return Redirect("/", zone=chosen)
    return Page("zone.html", {"zones": times.zones()})
