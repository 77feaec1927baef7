"""Asks the database how everything stands. Every count has a bound: a full queue costs no more to
look at than a short one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from heapq import nlargest
from typing import Any

import psycopg

from cdc.capture.catalog import installed_mapping
from cdc.diagnosis import capture_state
from cdc.diagnosis.health.model import Bell, DaemonState, Health, LaneState, Unresolved
from cdc.mapping import Mapping
from cdc.model import SHARDS, UNUSABLE
from cdc.postgres import publications, row_security
from cdc.postgres.advisory_locks import LOCK_CLASS, LOG_LOST, MEMBER, clock_offset
from cdc.webhooks import company

COUNTED_IN_ALL = 100_000
"""Rows counted in all; shared by the webhooks that have any."""
COUNT_AT_LEAST, COUNT_AT_MOST = 100, 10_000
"""Rows counted of one webhook, in one place: within these."""

DETAILED = 10
"""Webhooks with one kind of failure whose attempts are looked at."""

Connection = psycopg.Connection[Any]


def read(conn: Connection, mapping: Mapping, held_days: float) -> Health:
    """Raises DatabaseError unless schema cdc is up to date."""
    capture_state.refuse_unless_migrated(conn)
    installed = installed_mapping(conn)
    members, daemons, strangers = fleet(conn)
    found = lanes(conn)
    return Health(
        capture=tuple(capture_state.standing(conn, mapping)),
        installed_mapping=installed,
        mapping_is_installed=installed == mapping.fingerprint,
        members=members,
        daemons=daemons,
        bell=bell(conn),
        lanes=found,
        unresolved=unresolved(conn),
        expired=expired(conn),
        copy=capture_state.is_copy(conn),
        published=publications.ours(conn),
        refused=publications.refused(conn),
        filtered=row_security.filtered(conn),
        gone=company.gone(conn, mapping),
        strangers=strangers,
        held_days=held_days,
        details=details(conn, found),
        backfills=backfills(conn),
    )


# Any account can take such a lock: a daemon is one that may take over shards (look.sql).
_HELD = """
select l.pid, l.objid::int,
       pg_has_role(a.usesysid, 'cdc_daemon', 'member')
         or has_table_privilege(a.usesysid, 'cdc.shard', 'update'),
       format('process %%s (%%s, user %%s)', l.pid,
              coalesce(nullif(a.application_name, ''), 'no name'), a.usename)
  from pg_locks l left join pg_stat_activity a on a.pid = l.pid
 where l.locktype = 'advisory' and l.classid = %s and l.objsubid = 2 and l.granted
   and l.database = (select oid from pg_database where datname = current_database())
"""


def fleet(conn: Connection) -> tuple[int, tuple[DaemonState, ...], tuple[str, ...]]:
    """How many daemons there are, those that own shards, and sessions that hold locks of daemons
    and may not act as one."""
    held = conn.execute(_HELD, [LOCK_CLASS]).fetchall()
    daemons = [(pid, number) for pid, number, may, _ in held if may]
    owned = {number: pid for pid, number in daemons if number < SHARDS}
    clocks = {pid: off for pid, number in daemons if (off := clock_offset(number)) is not None}
    losing = {pid for pid, number in daemons if number == LOG_LOST}
    rows = conn.execute(
        "select owner, array_agg(id::int order by id), min(since) from cdc.shard"
        " where id = any(%s) group by owner order by owner",
        [list(owned)],
    ).fetchall()
    owners = [
        DaemonState(
            owner, tuple(shards), since, clocks.get(owned[shards[0]]), owned[shards[0]] in losing
        )
        for owner, shards, since in rows
    ]
    strangers = sorted({who for _, number, may, who in held if not may and number <= MEMBER})
    return sum(number == MEMBER for _, number in daemons), tuple(owners), tuple(strangers)


_BELL = """
select last_value > extract(epoch from clock_timestamp()) * 1000000,
       pg_notification_queue_usage()::float8,
       current_setting('max_prepared_transactions')::int
  from cdc.bell
"""


def bell(conn: Connection) -> Bell:
    """Whether writers ring now."""
    row = conn.execute(_BELL).fetchone()
    assert row is not None
    return Bell(*row)


# From one webhook that has rows to the next, so it costs nothing for those that have none.
_BUSY = " union ".join(
    f"""
(with recursive busy (id) as (
  (select webhook_id from cdc.{table} order by webhook_id limit 1)
  union all
  select (select webhook_id from cdc.{table} t
           where t.webhook_id > busy.id order by webhook_id limit 1)
    from busy where busy.id is not null
)
select id from busy where id is not null)"""  # noqa: S608 - names of ours
    for table in ("queue", "retry", "dead")
)

# Those that owe nothing: as below, without looking there.
_QUIET = """
select w.id, w.company, w.state, w.reason, w.since, 0, 0, 0, 0, null, null, null,
       coalesce(l.breaker, 'closed'), l.failing_since,
       extract(epoch from clock_timestamp() - l.failing_since)::float8,
       coalesce(l.slow_until > clock_timestamp(), false),
       case when starts_with(l.last_error, %(unusable)s) or l.breaker <> 'closed'
            then l.last_error end,
       null, null, null, null, %(bound)s
  from cdc.webhook w left join cdc.lane l on l.webhook_id = w.id
 where w.id <> all(%(webhooks)s::bigint[])
"""

# Each place is read by its index (webhook_id, id), the oldest rows first, and no further than the
# bound.
_LANES = """
select w.id, w.company, w.state, w.reason, w.since, q.n, r.retrying, r.parked, d.n,
       extract(epoch from now.at - least(q.oldest, r.oldest))::float8,
       extract(epoch from now.at - q.oldest)::float8,
       extract(epoch from now.at - d.oldest)::float8,
       coalesce(l.breaker, 'closed'), l.failing_since,
       extract(epoch from now.at - l.failing_since)::float8,
       coalesce(l.slow_until > now.at, false),
       -- What stops the whole webhook goes before why one delivery failed.
       case when starts_with(l.last_error, %(unusable)s) then l.last_error
            else coalesce(next.error, case when l.breaker <> 'closed' then l.last_error end) end,
       next.status, next.id,
       extract(epoch from next.due_at - now.at)::float8,
       case when w.state in ('paused', 'suspended')
            then extract(epoch from now.at - greatest(w.since, least(q.oldest, r.oldest)))::float8
              * nullif(least(q.n + r.retrying + r.parked, 1), 0) end,
       %(bound)s
  from (select clock_timestamp() as at) now
 cross join cdc.webhook w
 cross join lateral (
   select count(*) as n, min("time") filter (where isfinite("time")) as oldest
     from (select "time" from cdc.queue where webhook_id = w.id order by id limit %(bound)s) x) q
 cross join lateral (
   select count(due_at) as retrying, count(*) - count(due_at) as parked,
          min("time") filter (where isfinite("time")) as oldest
     from (select due_at, "time" from cdc.retry where webhook_id = w.id
            order by id limit %(bound)s) x) r
 cross join lateral (
   select count(*) as n, min("time") filter (where isfinite("time")) as oldest
     from (select "time" from cdc.dead where webhook_id = w.id order by id limit %(bound)s) x) d
  left join lateral (
   select id, due_at, last_error as error, last_status as status
     from cdc.retry where webhook_id = w.id and due_at is not null
    order by due_at limit 1) next on true
  left join cdc.lane l on l.webhook_id = w.id
 where w.id = any(%(webhooks)s::bigint[])
 order by w.id
"""

# Statistics of a queue are always out of date: it was empty a moment ago.
_BY_INDEX = "set local enable_seqscan = off; set local enable_bitmapscan = off; set local jit = off"


def lanes(conn: Connection, webhooks: Sequence[int] | None = None) -> tuple[LaneState, ...]:
    """These webhooks, or all. Costs some probes of indexes for each that owes anything, and
    ``COUNTED_IN_ALL`` rows (or ``COUNT_AT_LEAST`` each)."""
    with conn.transaction():
        conn.execute(_BY_INDEX)
        busy = webhooks
        if busy is None:
            busy = [number for (number,) in conn.execute(_BUSY.encode()).fetchall()]
        bound = max(COUNT_AT_LEAST, min(COUNT_AT_MOST, COUNTED_IN_ALL // max(1, len(busy))))
        ask = {"bound": bound, "unusable": UNUSABLE, "webhooks": list(busy)}
        rows = conn.execute(_LANES, ask).fetchall()
        if webhooks is None:
            rows = sorted([*rows, *conn.execute(_QUIET, ask).fetchall()], key=lambda row: row[0])
    return tuple(map(LaneState._make, rows))


_DETAILS = """
select f.webhook_id, (select a.detail from cdc.attempt a
                       where a.delivery = f.delivery and a.webhook_id = f.webhook_id
                         and a.detail is not null order by a.at desc limit 1)
  from unnest(%s::bigint[], %s::bigint[]) f (webhook_id, delivery)
"""


def details(conn: Connection, lanes: Iterable[LaneState]) -> dict[int, str]:
    """What the last attempts of some webhooks that fail met, of each kind of failure the latest
    ones; nothing for an account that may not see it."""
    row = conn.execute("select has_column_privilege('cdc.attempt', 'detail', 'select')").fetchone()
    worst: dict[tuple[str | None, int | None], list[LaneState]] = defaultdict(list)
    for lane in lanes:
        if (lane.late or lane.refused_here) and lane.error and lane.delivery is not None:
            worst[lane.error, lane.status].append(lane)
    asked = [
        lane
        for group in worst.values()
        for lane in nlargest(DETAILED, group, key=lambda lane: lane.oldest or 0.0)
    ]
    if not asked or row is None or not row[0]:
        return {}
    ids = [[lane.webhook_id for lane in asked], [lane.delivery for lane in asked]]
    return {webhook: text for webhook, text in conn.execute(_DETAILS, ids).fetchall() if text}


_EXPIRED = """
select count(*)
  from (select from cdc.attempt
         where outcome = 'expired' and at > clock_timestamp() - interval '1 day'
         limit %s) e
"""


def expired(conn: Connection) -> int:
    """Within the last day; by index, however long the log is; at most ``COUNTED_IN_ALL``."""
    row = conn.execute(_EXPIRED, [COUNTED_IN_ALL]).fetchone()
    assert row is not None
    return int(row[0])


_UNRESOLVED = """
select count(*), extract(epoch from clock_timestamp()
         - min("time") filter (where isfinite("time")))::float8,
       coalesce((array_agg(reason order by id))[1], '')
  from (select id, "time", reason from cdc.unresolved order by id limit %s) u
"""


def unresolved(conn: Connection) -> Unresolved:
    """Counted as far as ``COUNT_AT_MOST``."""
    row = conn.execute(_UNRESOLVED, [COUNT_AT_MOST + 1]).fetchone()
    assert row is not None
    count, oldest, reason = row
    return Unresolved(min(count, COUNT_AT_MOST), oldest, reason, more=count > COUNT_AT_MOST)


_BACKFILLS = """
select state, count(*) from cdc.backfill where state in ('running', 'paused', 'failed')
 group by state order by state desc
"""


def backfills(conn: Connection) -> dict[str, int]:
    """Those that go on, wait to be resumed, or have failed: how many, by state."""
    return dict(conn.execute(_BACKFILLS).fetchall())
