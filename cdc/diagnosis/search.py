"""A search for deliveries of several webhooks, the newest changes first.

The lists of the webhooks are read by index, in the order of the transactions that made the changes,
and merged. A page looks at a bounded part of each; what lies behind that is for the next page, even
if nothing was found in this one. So a page costs the same however much is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Any

import psycopg
from psycopg.rows import dict_row

from cdc.diagnosis.deliveries import ENDS, WAITING, matching
from cdc.diagnosis.newest import BY_INDEX, NEWEST, Before
from cdc.model import LOG_RING

SCAN_ROWS = 1000
"""Rows of each place (queue, retried, dead, log) that a page looks at, of all webhooks together."""
WEBHOOK_ROWS = 25
"""But of each webhook as many as these."""
OWING_WEBHOOKS = 25
"""Where no webhook is named: so many that owe something are looked at."""
LONGEST_TRANSACTION = timedelta(minutes=1)
"""Changes of one that took longer may be left out at the ends of a time that is searched."""
SEEK_STEPS = 64
SEEK_WEBHOOKS = 10
"""Of a company, in whose log the end of a time is looked for."""

_BEFORE = "(%(xid)s::text::xid8, %(number)s::bigint, %(uid)s::uuid)"
_PARTS = {
    "queue": f"""
select q.id, q.uid, q.xid, q.layout, q.action, q.refs[cardinality(q.refs)], q."time",
       case when w.held then 'held' else 'queued' end, 0, null::smallint, null, null::timestamptz,
       null::timestamptz, row_number() over () = %(scan)s
  from (select * from cdc.queue q
         where q.webhook_id = w.id and (q.xid, q.id, q.uid) < {_BEFORE}
         order by q.id desc limit %(scan)s) q
""",  # noqa: S608 - put together of constants, as those below
    "retry": f"""
select r.id, r.uid, r.xid, r.layout, r.action, r.key, r."time",
       case when w.held then 'held' when r.due_at is null then 'parked' else 'retrying' end,
       r.tries, r.last_status, r.last_error, r.due_at, null, row_number() over () = %(scan)s
  from (select * from cdc.retry r
         where r.webhook_id = w.id and (r.xid, r.id, r.uid) < {_BEFORE}
         order by r.xid desc, r.id desc, r.uid desc limit %(scan)s) r
""",  # noqa: S608 - constants
    "dead": f"""
select d.id, d.uid, d.xid, d.layout, d.action, d.key, d."time", 'dead', d.tries, d.last_status,
       d.last_error, null, null, row_number() over () = %(scan)s
  from (select * from cdc.dead d
         where d.webhook_id = w.id and (d.xid, d.id, d.uid) < {_BEFORE}
         order by d.xid desc, d.id desc, d.uid desc limit %(scan)s) d
""",  # noqa: S608 - constants
    "log": f"""
select a.delivery, a.uid, a.xid, a.layout, a.action, a.refs[cardinality(a.refs)], a."time",
       a.outcome, a.try, a.status, a.error, null, a.at, row_number() over () = %(scan)s
  from (select * from cdc.attempt a
         where a.webhook_id = w.id and a.outcome <> 'failed' and a.slot = any(%(slots)s::smallint[])
           and (a.xid, a.delivery, a.uid) < {_BEFORE}
         order by a.xid desc, a.delivery desc, a.uid desc, a.at desc limit %(scan)s) a
""",  # noqa: S608 - constants
}


@dataclass(frozen=True, slots=True)
class DeliverySearch:
    """Which deliveries. since, until: time of the change, the end not included. key: of the row."""

    since: datetime
    until: datetime | None = None
    event: str | None = None
    key: str | None = None
    state: str | None = None


@dataclass(frozen=True, slots=True)
class DeliveriesFound:
    """after: the place to go on from; None: that is all.
    looked: back to changes of this time; None: to the beginning of the time that is searched.
    webhooks: how many were looked at."""

    items: list[dict[str, Any]]
    webhooks: int
    after: Before | None = None
    looked: datetime | None = None


def search(
    conn: psycopg.Connection[Any],
    webhooks: Sequence[int] | None,
    wanted: DeliverySearch,
    limit: int,
    before: Before = NEWEST,
) -> DeliveriesFound:
    """A page of at most ``limit`` deliveries of these webhooks.

    None: of those that owe something, what waits or is dead: the log has no order of all.
    """
    places = [one for one in _places(wanted.state) if webhooks is not None or one != "log"]
    with conn.transaction(), conn.cursor(row_factory=dict_row) as cursor:
        cursor.execute(BY_INDEX)
        if webhooks is None:
            owing = cursor.execute(_owing(places).encode(), [OWING_WEBHOOKS])
            webhooks = [row["id"] for row in owing]
        if not webhooks:
            return DeliveriesFound([], 0)
        if before == NEWEST and wanted.until is not None:
            before = _seek(cursor, webhooks, wanted.until)
        ask = {
            **asdict(wanted),
            **before._asdict(),
            "webhooks": list(webhooks),
            "states": None if wanted.state is None else list(matching(wanted.state)),
            "slots": _slots(wanted.since, datetime.now(UTC)),
            "scan": max(SCAN_ROWS // len(webhooks), WEBHOOK_ROWS),
        }
        # Not prepared: its plan is for these partitions of the log.
        statement = _query(places).encode()
        rows = cursor.execute(statement, ask, prepare=False).fetchall()
    items, edge = _merged(rows, wanted, limit)
    if edge is None:
        return DeliveriesFound(items, len(webhooks))
    return DeliveriesFound(items, len(webhooks), Before(*_place(edge)), edge["time"])


def _owing(places: Sequence[str]) -> str:
    """Webhooks that have something there, found from one to the next by index."""
    each = " union ".join(
        f"""(with recursive busy (id) as (
  (select webhook_id from cdc.{place} order by webhook_id limit 1)
  union all
  select (select t.webhook_id from cdc.{place} t
           where t.webhook_id > busy.id order by t.webhook_id limit 1)
    from busy where busy.id is not null
)
select id from busy where id is not null limit {OWING_WEBHOOKS})"""  # noqa: S608 - names of ours
        for place in places
    )
    return f"select id from ({each}) b order by id limit %s"  # noqa: S608 - names of ours


def _query(places: Sequence[str]) -> str:
    parts = " union all ".join(f"({_PARTS[place]})" for place in places)
    return f"""
with w as materialized (
  select id, company, state in ('paused', 'suspended') as held
    from cdc.webhook where id = any(%(webhooks)s)
), found as (
  select d.id, d.uid::text as webhook_id, w.id as webhook, w.company, l.event,
         case d.action when 'c' then 'created' when 'd' then 'deleted' else 'modified' end
           as action,
         d.key, d."time", d.state, d.tries, d.status, d.error, d.due_at,
         d.xid::text::bigint as xid, d.ended, d.edge,
         d."time" >= %(since)s and (d.ended is null or d.state <> 'dead')
           and (%(until)s::timestamptz is null or d."time" < %(until)s)
           and (%(event)s::text is null or l.event = %(event)s)
           and (%(key)s::text is null or d.key = %(key)s)
           and (%(states)s::text[] is null or d.state = any(%(states)s)) as wanted
    from w cross join lateral ({parts})
           d (id, uid, xid, layout, action, key, "time", state, tries, status, error, due_at,
              ended, edge)
    left join cdc.layout l on l.id = d.layout
)
select * from found where wanted or edge
"""  # noqa: S608 - constants


def _places(state: str | None) -> list[str]:
    """Those that have deliveries in this state."""
    if state is None:
        return list(_PARTS)
    if set(matching(state)) <= set(WAITING):
        return ["queue", "retry"]
    return ["log"] if state in ENDS else [state]


def _merged(
    rows: list[dict[str, Any]], wanted: DeliverySearch, limit: int
) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """What is behind the first place at which a list was left is for the next page: which begins
    behind this row, None for no next page."""
    edge = max((row for row in rows if row["edge"]), key=_place, default=None)
    # Where it waits counts for more than how it ended before; of ends, the last.
    rows.sort(key=lambda row: row["ended"] or datetime.max.replace(tzinfo=UTC), reverse=True)
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        if row["wanted"] and (edge is None or _place(row) >= _place(edge)):
            found.setdefault((row["webhook"], *_place(row)), row)
    items = sorted(found.values(), key=_place, reverse=True)
    if len(items) > limit:
        edge, items = items[limit - 1], items[:limit]
    elif edge is not None and edge["time"] < wanted.since - LONGEST_TRANSACTION:
        edge = None
    return items, edge


_place = itemgetter("xid", "id", "webhook_id")


def _slots(since: datetime, now: datetime) -> list[int]:
    """Partitions of the log that may hold it: a delivery ends after its change."""
    first, last = (int(moment.timestamp() // 86_400) for moment in (since, now))
    first = max(first - 1, last + 2 - LOG_RING)
    return sorted({day % LOG_RING for day in range(first, last + 2)})


_SEEK = """
with recursive seek (webhook, low, high, late, step) as (
  select w, 0::bigint, top.xid::text::bigint + 1, null::bigint, 1
    from unnest(%(webhooks)s::bigint[]) w
   cross join lateral (
           select a.xid from cdc.attempt a
            where a.webhook_id = w and a.outcome <> 'failed' and a.slot = any(%(slots)s::smallint[])
            order by a.xid desc limit 1) top
   union all
  select s.webhook,
         case when p."time" < %(late)s then p.xid::text::bigint else s.low end,
         case when p."time" < %(late)s then s.high else (s.low + s.high) / 2 end,
         case when p."time" >= %(late)s then p.xid::text::bigint else s.late end, s.step + 1
    from seek s
    left join lateral (
           select a.xid, a."time" from cdc.attempt a
            where a.webhook_id = s.webhook and a.outcome <> 'failed'
              and a.slot = any(%(slots)s::smallint[])
              and a.xid >= ((s.low + s.high) / 2)::text::xid8
            order by a.xid, a.delivery limit 1) p on true
   where s.high - s.low > 1 and s.step < %(steps)s
)
select min(late) as late from seek
"""


def _seek(cursor: psycopg.Cursor[dict[str, Any]], webhooks: Sequence[int], until: datetime) -> Any:
    """A place that all changes before ``until`` are behind, found in the log by halves."""
    late = until + LONGEST_TRANSACTION
    ask = {
        "webhooks": list(webhooks[:SEEK_WEBHOOKS]),
        "late": late,
        "slots": _slots(late, late + timedelta(days=1)),
        "steps": SEEK_STEPS,
    }
    row = cursor.execute(_SEEK.encode(), ask, prepare=False).fetchone()
    if row is None or row["late"] is None:
        return NEWEST
    return NEWEST._replace(xid=row["late"] - 1)
