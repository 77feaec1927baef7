"""Deliveries, wherever they are: queue, retry table, the dead, the log. Reads only."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from time import time
from typing import Any, NamedTuple

import psycopg
from psycopg import IsolationLevel
from psycopg.rows import dict_row

from cdc.errors import CdcError
from cdc.mapping.row_keys import of_layout
from cdc.model import ACTION_NAMES, LOG_RING

Connection = psycopg.Connection[Any]

WAITING = ("queued", "retrying", "parked", "held")
ENDS = ("delivered", "expired", "dropped")
STATES = (*WAITING, "delivered", "dead", "expired", "dropped", "waiting")


class UnknownDelivery(CdcError):
    """It neither waits nor is in the log."""

    def __init__(self, which: object) -> None:
        hint = "The log keeps deliveries that have ended for CDC_LOG_DAYS."
        super().__init__(f"unknown delivery {which}", hint)


def matching(state: str) -> tuple[str, ...]:
    """The states that are meant by one that is asked for."""
    return WAITING if state == "waiting" else (state,)


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """Which deliveries; None: no matter.

    since: time of the change. row: its key.
    """

    webhook: int | None = None
    company: str | None = None
    event: str | None = None
    state: str | None = None
    since: datetime | None = None
    limit: int = 50
    row: str | None = None


# An attempt comes after its change, so the log can be searched by its index on the attempt's time.
_SEARCH = """
select d.id, d.uid::text as webhook_id, d.webhook_id as webhook, w.company, d.event,
       case d.action when 'c' then 'created' when 'd' then 'deleted' else 'modified' end as action,
       d.key, d."time",
       d.state, d.tries, d.status, d.error, d.due_at
  from (
    select q.id, q.uid, q.webhook_id, l.event, q.action, q.refs[cardinality(q.refs)] as key,
           q."time", case h.state when 'active' then 'queued' when 'removed' then 'queued'
                                  else 'held' end as state,
           0 as tries, null::smallint as status, null as error, null::timestamptz as due_at
      from cdc.queue q
      left join cdc.layout l on l.id = q.layout
      left join cdc.webhook h on h.id = q.webhook_id
    union all
    select r.id, r.uid, r.webhook_id, r.event, r.action, r.key, r."time",
           case when h.state in ('paused', 'suspended') then 'held'
                when r.due_at is null then 'parked' else 'retrying' end,
           r.tries, r.last_status, r.last_error, r.due_at
      from cdc.retry r left join cdc.webhook h on h.id = r.webhook_id
    union all
    select d.id, d.uid, d.webhook_id, d.event, d.action, d.key, d."time", 'dead', d.tries,
           d.last_status, d.last_error, null
      from cdc.dead d
    union all
    select a.delivery, a.uid, a.webhook_id, l.event, a.action, a.refs[cardinality(a.refs)],
           a."time", a.outcome, a.try, a.status, a.error, null
      from cdc.attempt a left join cdc.layout l on l.id = a.layout
     where a.outcome in ('delivered', 'expired', 'dropped')
       and a.at >= coalesce(%(since)s::timestamptz, clock_timestamp() - interval '1 day')
  ) d
  left join cdc.webhook w on w.id = d.webhook_id
 where (%(webhook)s::bigint is null or d.webhook_id = %(webhook)s)
   and (%(company)s::text is null or w.company = %(company)s)
   and (%(event)s::text is null or d.event = %(event)s)
   and (%(row)s::text is null or d.key = %(row)s)
   and (%(state)s::text is null or d.state = any(%(states)s::text[]))
   and (%(since)s::timestamptz is null or d."time" >= %(since)s)
 order by d."time" desc, d.id desc, d.uid desc
 limit %(limit)s
"""


def search(conn: Connection, wanted: DeliveryFilter) -> list[dict[str, Any]]:
    """Deliveries, the newest changes first."""
    states = None if wanted.state is None else list(matching(wanted.state))
    with conn.transaction(), conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(_SEARCH, {**asdict(wanted), "states": states}).fetchall()


# Of a webhook-id. The log has filters, and of what it has the number is known then: found by index.
_LOGGED_UID = """
select distinct webhook_id, delivery, uid::text from cdc.attempt
 where uid = %s::uuid and (slot between %s and %s or slot between %s and %s)
"""
_DAYS = ((-2, 1), (-30, -3))
"""Of the log, from today: the newest are looked into first, most questions are of them."""
_WAITING_UID = " union ".join(
    f"select webhook_id, id, uid::text from cdc.{name} where uid = %(uid)s::uuid"  # noqa: S608 - ours
    for name in ("queue", "retry", "dead")
)
BY_INDEX = (
    "set local enable_seqscan = off; set local jit = off;"
    " set local plan_cache_mode = force_generic_plan"
)
"""Filters in the log are priced too high, and statistics of a queue are out of date. The partitions
of the log are planned once a session, where statements are prepared."""


class DeliveryKey(NamedTuple):
    """Identifies a delivery."""

    webhook: int
    number: int
    uid: str


def located(conn: Connection, uid: str) -> list[DeliveryKey]:
    """The deliveries of this webhook-id: one, as a rule. Of one that was never tried the whole
    queue is read, which has no index for it: it would cost every writer."""
    with conn.transaction():
        conn.execute(BY_INDEX)
        for days in _DAYS:
            if rows := conn.execute(_LOGGED_UID, [uid, *_slots(*days)]).fetchall():
                break
        else:
            rows = conn.execute(_WAITING_UID.encode(), {"uid": uid}).fetchall()
    return [DeliveryKey(*row) for row in rows]


def _slots(first: int, last: int) -> tuple[int, int, int, int]:
    """Partitions of these days from today: from, to, and again from, to."""
    today = int(time() // 86_400)
    first, last = (today + first) % LOG_RING, (today + last) % LOG_RING
    return (first, last, 1, 0) if first <= last else (first, LOG_RING - 1, 0, last)


_CHANGE = 'd.webhook_id, d.uid::text, d.layout, d.action, d."time", d.refs'
_NUMBERED = "d.id = %(number)s"
_KNOWN = "d.webhook_id = any(%(webhooks)s) and d.id = any(%(numbers)s) and d.uid = %(uid)s::uuid"

_PLACES = f"""
select d.id, 'queued' as place, {_CHANGE}, 0 as tries, 0 as attempts, null::timestamptz as due_at,
       null::bytea as body
  from cdc.queue d where {{which}}
union all
select d.id, case when d.due_at is null then 'parked' else 'retrying' end, {_CHANGE}, d.tries,
       d.attempts, d.due_at, d.body
  from cdc.retry d where {{which}}
union all
select d.id, 'dead', {_CHANGE}, d.tries, d.attempts, null, d.body
  from cdc.dead d where {{which}}
"""  # noqa: S608 - put together of the constants above

_ATTEMPTS = """
select a.delivery as id, a.webhook_id, a.uid::text, a.layout, a.action, a."time", a.refs, a.at,
       a.try, a.outcome, a.status, a.error, a.detail, a.duration_ms, a.excerpt
  from cdc.attempt a
 where {which}
 order by a.at, a.try
"""
_NUMBERED_ATTEMPTS = "a.delivery = %(number)s"
_KNOWN_ATTEMPTS = (
    "a.webhook_id = any(%(webhooks)s) and a.delivery = any(%(numbers)s) and a.uid = %(uid)s::uuid"
)

_LOGGED = ("at", "try", "outcome", "status", "error", "detail", "duration_ms", "excerpt")


def trace(
    conn: Connection, number: int | None, uid: str | None, webhook: int | None = None
) -> list[dict[str, Any]]:
    """Where the deliveries of this number, or this webhook-id, are, each with its attempts.

    By webhook-id as ``located`` finds it; by number the whole queue is read. The one of this
    webhook, number and webhook-id is found by index.
    """
    ask: dict[str, Any] = {"number": number, "uid": uid}
    attempted, placed = _NUMBERED_ATTEMPTS, _NUMBERED
    conn.isolation_level = IsolationLevel.REPEATABLE_READ  # a delivery is in one place at a time
    with conn.transaction(), conn.cursor(row_factory=dict_row) as cursor:
        cursor.execute(BY_INDEX)
        if uid is not None:
            attempted, placed = _KNOWN_ATTEMPTS, _KNOWN
            if webhook is None or number is None:
                keys = located(conn, uid)
            else:
                keys = [DeliveryKey(webhook, number, uid)]
            ask["webhooks"] = [key.webhook for key in keys]
            ask["numbers"] = [key.number for key in keys]
        attempts = cursor.execute(_ATTEMPTS.format(which=attempted).encode(), ask).fetchall()
        places = cursor.execute(_PLACES.format(which=placed).encode(), ask).fetchall()
        rows = [*places, *attempts]
        layouts = {
            row["id"]: row
            for row in cursor.execute(
                "select id, event, fields from cdc.layout where id = any(%s)",
                [[row["layout"] for row in rows]],
            )
        }
        webhooks = {
            row["id"]: row
            for row in cursor.execute(
                "select id, company, state from cdc.webhook where id = any(%s)",
                [[row["webhook_id"] for row in rows]],
            )
        }
    found: dict[tuple[int, str], dict[str, Any]] = {}
    for row in rows:
        if (row["webhook_id"], row["uid"]) not in found:
            layout, hook = layouts.get(row["layout"], {}), webhooks.get(row["webhook_id"], {})
            found[row["webhook_id"], row["uid"]] = _as_shown(row, layout, hook)
    for row in attempts:
        one = found[row["webhook_id"], row["uid"]]
        one["attempts"].append({name: row[name] for name in _LOGGED})
        if "place" not in one:
            one["state"] = "unknown" if row["outcome"] == "failed" else row["outcome"]
    for one in found.values():
        one.pop("place", None)
    return list(found.values())


def _as_shown(
    row: dict[str, Any], layout: dict[str, Any], webhook: dict[str, Any]
) -> dict[str, Any]:
    fields = layout.get("fields") or [str(n) for n in range(len(row["refs"]))]
    place = row.get("place")
    held = place in ("queued", "retrying", "parked") and webhook.get("state") in (
        "paused",
        "suspended",
    )
    shown = {
        "id": row["id"],
        "webhook_id": row["uid"],
        "webhook": row["webhook_id"],
        "company": webhook.get("company"),
        "event": layout.get("event"),
        "action": ACTION_NAMES.get(row["action"], "unknown"),
        "key": row["refs"][-1],
        "time": row["time"],
        "state": "held" if held else place,
        "refs": {of_layout(name)[0]: key for name, key in zip(fields, row["refs"], strict=False)},
        "due_at": row.get("due_at"),
        "body": row["body"].decode(errors="replace") if row.get("body") else None,
        "attempts": [],
    }
    return shown | ({"place": place} if place else {})


class Failure(NamedTuple):
    """An attempt that failed. status: of the answer."""

    error: str | None
    status: int | None
    detail: str


def failures(conn: Connection, webhook: int, number: int) -> list[Failure]:
    """Of this delivery, as far as the log has them, the newest first."""
    rows = conn.execute(
        "select error, status, detail from cdc.attempt where delivery = %s and webhook_id = %s"
        " and outcome in ('failed', 'dead') order by at desc, try desc limit 200",
        [number, webhook],
    )
    return [Failure(*row) for row in rows]


def unresolved(conn: Connection, number: int) -> str | None:
    """Why the change of this number is not a delivery yet."""
    row = conn.execute("select reason from cdc.unresolved where id = %s", [number]).fetchone()
    return row[0] if row else None
