"""Sessions of the console: the list, and the end of one."""

from __future__ import annotations

from cdc.web import sessions as kept
from cdc.web.console.changes import Confirmation
from cdc.web.console.visit import Page, Redirect, Visit
from cdc.web.problems import Problem

SESSIONS_LISTED = 100


def sessions(visit: Visit) -> Page:
    found = kept.listed(visit.conn, SESSIONS_LISTED + 1)
    values = {
        "sessions": found[:SESSIONS_LISTED],
        "more": len(found) > SESSIONS_LISTED,
        "own": visit.session,
        "done": "The session has ended." if visit.query.get("done") == "ended" else "",
    }
    return Page("sessions.html", values)


def ask_end(visit: Visit) -> Page:
    number = visit.params["session_id"]
    one = next(iter(kept.listed(visit.conn, 1, number)), None)
    if one is None:
        raise Problem("not_found")
    what = [f"Session {number} is signed out at once."]
    if one["person"]:
        what.append(f"It is of {one['person']}.")
        what.append("Its owner can sign in again, until the provider refuses that.")
    else:
        if one["description"]:
            what.append(f"Its key {one['key_id']} is described as: {one['description']}")
        prevent = f"to prevent that, revoke the key {one['key_id']}"
        what.append(f"Its owner can sign in again; {prevent}.")
    asked = Confirmation("End a session", what, "End it")
    return asked.page(f"/sessions/{number}/end", "/sessions")


def end(visit: Visit) -> Redirect:
    if not kept.revoke(visit.conn, visit.params["session_id"], visit.actor):
        raise Problem("not_found")
    return Redirect("/sessions?done=ended")
