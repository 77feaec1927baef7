"""Why nothing is sent to an endpoint that its company has entered, in sentences."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from cdc.diagnosis.explain import Sentence
from cdc.diagnosis.health import LaneState
from cdc.web.console import for_companies
from cdc.web.console.visit import Visit
from cdc.webhooks import trials
from cdc.webhooks.model import Registration


def sentences(visit: Visit, one: Registration, lane: LaneState, now: datetime) -> list[Sentence]:
    """And what came of the last challenge."""
    newest = trials.newest(visit.conn, one.id, challenges=True)
    if visit.access.company_only is not None:
        return for_companies.unverified(lane, newest, now)
    text = (
        f"Company {one.company} has entered this endpoint, and has not verified it: nothing is "
        "sent to it."
    )
    todo = "The company verifies it in the portal, or you do: Verify. Or accept it without."
    return [Sentence("wait", "unverified", text, todo), *_result(newest)]


def _result(newest: dict[str, Any] | None) -> list[Sentence]:
    """Of the last challenge, for an operator."""
    if newest is None or newest["state"] == "cancelled":
        return []
    result = newest["result"]
    if newest["ended_at"] is None:
        return [Sentence("wait", "challenge", "A challenge is being sent.")]
    if result is None:
        return [Sentence("bad", "challenge", f"The challenge was not sent: {newest['error']}.")]
    if result["ok"]:
        return []
    text = f"The last challenge was not answered: {result['sentence']}."
    return [Sentence("bad", "challenge", text, result["todo"] or "")]
