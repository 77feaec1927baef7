"""The list of what was owed to a webhook: a client compares with it, and fetches what it missed."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any, NamedTuple, Self

import orjson

from cdc.diagnosis import deliveries, owed
from cdc.diagnosis.owed import Owed, OwedSpan, Place
from cdc.message.payload import Translator, Untranslatable
from cdc.message.signing import split_endpoint
from cdc.model import LOG_RING, UNFIT
from cdc.postgres.connections import driver_of
from cdc.web import cursors
from cdc.web.call import ApiAnswer, Call
from cdc.web.delivery_models import DeliveryQuery
from cdc.web.problems import Problem

FILTER_SCAN = 1000
"""Deliveries that a page with a filter looks at; it may find none among them, and go on."""


class _Cursor(NamedTuple):
    """identity: of the database and its history, a digest.
    kept: what pruning has removed up to this transaction has been read, or was not there at the
          beginning.
    day:  since 1970; what had ended before it has been read. So a client that has read all costs
          some days of the log, not all of it.
    """

    identity: str
    webhook: int
    place: Place
    kept: int
    day: int

    @classmethod
    def read(cls, text: str | None, webhook: int) -> Self | None:
        """Raises Problem for one that is not of this webhook's list."""
        found: list[Any] | None = cursors.place(text, str, int, int, int, int, int)
        if found is None:
            return None
        identity, own, xid, number, kept, day = found
        if own != webhook or min(xid, kept, day) < 0:
            raise cursors.unknown()
        return cls(identity, own, Place(xid, number), kept, day)

    @property
    def text(self) -> str:
        return cursors.cursor(self.identity, self.webhook, *self.place, self.kept, self.day)


def listed(call: Call) -> ApiAnswer:
    query: DeliveryQuery = call.query
    webhook = call.access.webhook(int(call.params["webhook_id"]))
    after = _Cursor.read(query.after, webhook)
    filtered = query.state or query.event or query.since
    span = owed.span(
        driver_of(call.conn),
        webhook,
        after.place if after else owed.BEGINNING,
        FILTER_SCAN if filtered else query.limit,
        _slots(query, after.day if after else 0),
        bodies=query.body,
    )
    identity = hashlib.sha256(span.identity.encode()).hexdigest()[:12]
    if after:
        _refuse_gone(after, span, identity)
    wanted = [one for one in span.owed if _fits(one, query)]
    items, end, more = wanted[: query.limit], span.end, span.more
    if len(wanted) > len(items):
        end, more = items[-1].place, True
    kept = max(span.pruned, end.xid if more else span.frontier)
    day = after.day if after else 0
    if span.final and not more and not filtered:
        # What is not read yet will be committed later, and ends after that.
        day = _day(span.final_until)
    return ApiAnswer(
        _page(
            {
                "items": _shown(call, span, items, bodies=query.body),
                "next": _Cursor(identity, webhook, end, kept, day).text,
                "more": more,
                "final_until": span.final_until,
            }
        )
    )


def _page(page: dict[str, Any]) -> bytes:
    """A DeliveryPage, as that would be written: a model for each delivery takes three times as long
    as all the rest of it."""
    return orjson.dumps(page, option=orjson.OPT_UTC_Z)


def _refuse_gone(after: _Cursor, span: OwedSpan, identity: str) -> None:
    """Raises Problem for a cursor from which something would be missed."""
    if after.identity != identity or after.place.xid >= span.frontier > 0:
        start = _Cursor(identity, after.webhook, owed.BEGINNING, span.pruned, 0)
        raise Problem(
            "cursor_gone",
            "the cursor is of another database, or of this one before it was restored or failed"
            " over. `restart` begins again; deliveries that were read come again, under the"
            " same uid",
            restart=start.text,
        )
    if after.kept < span.pruned:
        raise Problem(
            "cursor_gone",
            "deliveries behind the cursor were removed, because the log keeps them for a limited"
            " time. `restart` continues with what is left",
            restart=after._replace(kept=span.pruned).text,
        )


def _slots(query: DeliveryQuery, day: int) -> tuple[int, ...]:
    """Partitions of the log that may hold what is asked for: a delivery ends after its change.

    day: since 1970; what has ended before it is not asked for.
    """
    if query.state is not None and query.state not in deliveries.ENDS:
        return owed.NO_SLOTS
    first, today = max(day, _day(query.since) if query.since else 0), _day(datetime.now(UTC))
    if not first:
        return owed.ALL_SLOTS
    first = max(first - 1, today - LOG_RING + 3) % LOG_RING
    last = (today + 2) % LOG_RING
    return (first, last, 1, 0) if first <= last else (first, LOG_RING - 1, 0, last)


def _day(moment: datetime) -> int:
    return int(moment.timestamp() // 86_400)


def _fits(one: Owed, query: DeliveryQuery) -> bool:
    delivery = one.delivery
    return (
        (query.state is None or one.state in deliveries.matching(query.state))
        and (query.event is None or delivery.layout.event == query.event)
        and (query.since is None or delivery.time >= query.since)
    )


def _shown(call: Call, span: OwedSpan, items: list[Owed], *, bodies: bool) -> list[dict[str, Any]]:
    if not items:
        return []  # the usual answer to a client that has read all
    url, _ = split_endpoint(span.endpoint)
    translator = Translator(call.service.mapping, call.service.settings.base_url)
    return [_out(one, span.company, url, translator, bodies=bodies) for one in items]


def _out(
    one: Owed, company: str, url: str, translator: Translator, *, bodies: bool
) -> dict[str, Any]:
    """A DeliveryOut: its fields, in their order."""
    delivery = one.delivery
    try:
        body = delivery.body or translator.body(delivery, url)
    except Untranslatable:
        body = None
    readable = delivery.layout.id != UNFIT
    return {
        "id": delivery.id,
        "uid": delivery.uid,
        "webhook": delivery.webhook_id,
        "company": company,
        "event": delivery.layout.event,
        "action": delivery.action,
        "key": delivery.refs[-1] if readable else None,
        "time": delivery.time,
        "state": one.state,
        "tries": delivery.tries,
        "status": one.status,
        "error": one.error,
        "due_at": one.due_at,
        "data": _data(body),
        "body": body.decode(errors="replace") if bodies and body is not None else None,
    }


def _data(body: bytes | None) -> dict[str, Any] | None:
    if body is None:
        return None
    try:
        data = orjson.loads(body)["data"]
    except (ValueError, KeyError, TypeError):
        return None
    return data if isinstance(data, dict) else None
