"""The installation: what the doctor finds, and changes that capture could not resolve."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import sqlalchemy as sa

from cdc.causes import cause_unresolved
from cdc.diagnosis.doctor.check import Finding
from cdc.errors import CdcError
from cdc.schema.tables import unresolved
from cdc.web import cursors
from cdc.web.console.visit import Page, Visit

CHANGES_LISTED = 50


def doctor(visit: Visit) -> Page:
    unread, found = "", list[Finding]()
    try:
        found = visit.service.examined()
    except CdcError as error:
        unread = error.message
    unseen = [one for one in found if one.verdict != "fail" and not one.made]
    values = {
        "unread": unread,
        "failed": [one for one in found if one.verdict == "fail"],
        "warned": [one for one in found if one.verdict == "warn" and one.made],
        "unseen": unseen,
        "good": [one for one in found if one.verdict == "ok" and one.made],
    }
    return Page("doctor.html", values)


def unresolved_changes(visit: Visit) -> Page:
    after = cursors.place(visit.query.get("after"), int)
    wanted = unresolved.c
    moment = sa.case((sa.func.isfinite(wanted.time), wanted.time))
    query = (
        sa.select(
            *(wanted.id, wanted.resource, wanted.key, wanted.action, moment.label("time")),
            *(wanted.reason, wanted.tries),
        )
        .where(wanted.id < int(after[0]) if after else sa.true())
        .order_by(wanted.id.desc())
        .limit(CHANGES_LISTED + 1)
    )
    found, more = cursors.cut(visit.conn.execute(query).all(), CHANGES_LISTED)
    values: dict[str, Any] = {
        "changes": [(one, cause_unresolved(one.reason)) for one in found],
        "older": urlencode({"after": cursors.cursor(found[-1].id)}) if more else "",
        "first": not after,
    }
    return Page("unresolved.html", values)
