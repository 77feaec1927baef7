"""The newest deliveries of a webhook, wherever they are, in the order of the transactions that made
their changes: what indexes have. A page costs the same whatever waits and however long the log is.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import psycopg
from psycopg.rows import dict_row

from cdc.diagnosis.deliveries import WAITING, matching

QUEUE_SCAN_ROWS = 1000
"""Rows of the queue, which is in the order of numbers, that a page is chosen from."""
ENDED_SCAN_ROWS = 5000
"""Of deliveries that ended without being delivered, the newest of all webhooks' are looked at."""


class Before(NamedTuple):
    """The last delivery of the page before: its transaction, number and webhook-id."""

    xid: int
    number: int
    uid: str


NEWEST = Before(2**63 - 1, 2**63 - 1, "ffffffff-ffff-ffff-ffff-ffffffffffff")

_BEFORE = "(%(xid)s::text::xid8, %(number)s::bigint, %(uid)s::uuid)"
_LOGGED = f"""
select a.delivery, a.uid, a.xid, a.layout, a.action, a.refs[cardinality(a.refs)], a."time",
       a.outcome, a.try, a.status, a.error, null::timestamptz
  from cdc.attempt a
 where a.webhook_id = %(webhook)s and a.outcome <> 'failed' and a.outcome {{ended}}
   and (a.xid, a.delivery, a.uid) < {_BEFORE}
 order by a.xid desc, a.delivery desc limit %(limit)s
"""  # noqa: S608 - put together of constants, as those below
_PARTS = {
    "queue": f"""
select q.id, q.uid, q.xid, q.layout, q.action, q.refs[cardinality(q.refs)], q."time",
       case when h.state in ('paused', 'suspended') then 'held' else 'queued' end, 0,
       null::smallint, null, null
  from (select * from cdc.queue q
         where q.webhook_id = %(webhook)s and (q.xid, q.id, q.uid) < {_BEFORE}
         order by q.id desc limit %(queue_rows)s) q, hook h
""",  # noqa: S608 - constants
    "retry": f"""
select r.id, r.uid, r.xid, r.layout, r.action, r.key, r."time",
       case when h.state in ('paused', 'suspended') then 'held'
            when r.due_at is null then 'parked' else 'retrying' end,
       r.tries, r.last_status, r.last_error, r.due_at
  from cdc.retry r, hook h
 where r.webhook_id = %(webhook)s and (r.xid, r.id, r.uid) < {_BEFORE}
   and (%(states)s::text[] is null
        or case when h.state in ('paused', 'suspended') then 'held'
                when r.due_at is null then 'parked' else 'retrying' end = any(%(states)s))
 order by r.xid desc, r.id desc limit %(limit)s
""",  # noqa: S608 - constants
    "dead": f"""
select d.id, d.uid, d.xid, d.layout, d.action, d.key, d."time", 'dead', d.tries, d.last_status,
       d.last_error, null
  from cdc.dead d
 where d.webhook_id = %(webhook)s and (d.xid, d.id, d.uid) < {_BEFORE}
 order by d.xid desc, d.id desc limit %(limit)s
""",  # noqa: S608 - constants
    "delivered": _LOGGED.format(ended="= 'delivered'"),
    "any": _LOGGED.format(ended="in ('delivered', 'expired', 'dropped')"),
    "ended": f"""
select a.delivery, a.uid, a.xid, a.layout, a.action, a.refs[cardinality(a.refs)], a."time",
       a.outcome, a.try, a.status, a.error, null
  from (select * from cdc.attempt where outcome in ('expired', 'dropped')
         order by at desc limit %(ended_rows)s) a
 where a.webhook_id = %(webhook)s and (a.xid, a.delivery, a.uid) < {_BEFORE}
""",  # noqa: S608 - constants
}
# Statistics of a queue are always out of date: it was empty a moment ago.
BY_INDEX = "set local enable_seqscan = off; set local enable_bitmapscan = off; set local jit = off"


def newest(
    conn: psycopg.Connection[Any],
    webhook: int,
    limit: int,
    state: str | None = None,
    before: Before = NEWEST,
) -> list[dict[str, Any]]:
    """Deliveries of the webhook in this state, or in any: the newest changes first."""
    states = None if state is None else list(matching(state))
    ask = {
        **before._asdict(),
        "webhook": webhook,
        "limit": limit,
        "states": states,
        "queue_rows": QUEUE_SCAN_ROWS,
        "ended_rows": ENDED_SCAN_ROWS,
    }
    with conn.transaction(), conn.cursor(row_factory=dict_row) as cursor:
        # The partitions of the log are planned once a session, where statements are prepared.
        cursor.execute(f"{BY_INDEX}; set local plan_cache_mode = force_generic_plan")
        return cursor.execute(query(state).encode(), ask).fetchall()


def query(state: str | None) -> str:
    """It reads those places only that have deliveries in this state."""
    parts = " union all ".join(f"({_PARTS[name]})" for name in _places(state))
    return f"""
with hook as materialized (
  select w.company, w.state from cdc.webhook w where w.id = %(webhook)s
), d (id, uid, xid, layout, action, key, "time", state, tries, status, error, due_at) as ({parts})
select d.id, d.uid::text as webhook_id, %(webhook)s::bigint as webhook, h.company, l.event,
       case d.action when 'c' then 'created' when 'd' then 'deleted' else 'modified' end as action,
       d.key, d."time", d.state, d.tries, d.status, d.error, d.due_at, d.xid::text::bigint as xid
  from d cross join hook h left join cdc.layout l on l.id = d.layout
 where %(states)s::text[] is null or d.state = any(%(states)s)
 order by d.xid desc, d.id desc, d.uid desc
 limit %(limit)s
"""  # noqa: S608 - constants


def _places(state: str | None) -> list[str]:
    if state is None:
        return ["queue", "retry", "dead", "any"]
    if set(matching(state)) <= set(WAITING):
        return ["queue", "retry"]
    return [state if state in ("dead", "delivered") else "ended"]
