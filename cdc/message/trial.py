"""The test of a webhook: a POST of the protocol's form, about no row, and what came of it."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from cdc.causes import cause_of
from cdc.errors import CdcError
from cdc.mapping import Mapping, plan_joins
from cdc.mapping.model import COMPANY
from cdc.mapping.row_keys import sample
from cdc.model import (
    NOTICE_EVENT,
    NOTICE_FIELDS,
    NOTICE_LAYOUT,
    Answer,
    Delivery,
    Layout,
    Outcome,
    Webhook,
)

ACTION = "test"
KEY = "0"
"""Stands for every row in a test's URLs; no row of the suite has it."""
SENT_WITHIN_S = 30
"""A test that no daemon has taken by then is given up, and not sent later."""


def event_to_test(mapping: Mapping, webhook_id: int, events: Sequence[str]) -> str:
    """The first that the mapping has. Raises CdcError if it has none of them."""
    known = (*mapping.events, NOTICE_EVENT)
    found = next((name for name in events if name in known), None)
    if found is None:
        raise CdcError(f"webhook {webhook_id} has no event that the mapping has")
    return found


def trial_delivery(mapping: Mapping, webhook: Webhook, event: str) -> Delivery:
    """What a test sends. It is in no table."""
    if event == NOTICE_EVENT:
        layout = Layout(NOTICE_LAYOUT, NOTICE_EVENT, NOTICE_FIELDS)
    else:
        layout = plan_joins(mapping, mapping.events[event]).layout
    known = {"base": None, COMPANY: webhook.company}
    return Delivery(
        id=0,
        webhook_id=webhook.id,
        xid=0,
        uid=str(uuid.uuid4()),
        layout=layout,
        action=ACTION,
        time=datetime.now(UTC),
        refs=tuple(known.get(field, sample(field, KEY)) for field in layout.fields),
    )


def trial_result(delivery: Delivery, outcome: Outcome) -> dict[str, Any]:
    """What came of it, in the names of the API. ok: the receiver has accepted it."""
    ok = outcome.answer is Answer.SUCCESS
    cause = None if ok else cause_of(outcome.error or "", outcome.status, outcome.detail)
    return {
        "ok": ok,
        "uid": delivery.uid,
        "event": delivery.layout.event,
        "status": outcome.status,
        "error": outcome.error,
        "detail": outcome.detail,
        "cause": cause and cause.code,
        "sentence": cause and cause.text,
        "todo": cause and cause.todo_for(delivery.webhook_id),
        "duration_ms": round(outcome.duration * 1000, 1),
        "excerpt": outcome.excerpt,
    }
