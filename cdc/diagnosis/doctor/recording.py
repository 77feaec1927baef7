"""Sessions that keep daemons from recording what they have sent: rows or tables of ours that
another session or a prepared transaction holds, and what a daemon waits for at this moment."""

from __future__ import annotations

from typing import Any, NamedTuple

import psycopg

from cdc.diagnosis.doctor.check import Patient, Result, fail, ok, unseen, warn
from cdc.wording import age

LOCK_HELD_S = 5.0
"""Seconds that a transaction of another session may hold such a lock without being named."""

# Daemons ask for a lock for moments only (0.1 s), so a wait is rarely seen: holders are looked for
# instead. Which rows a session has locked cannot be seen, but the lock on their table can. Writers
# of the suite hold RowExclusiveLock on the queue, and nothing on the others. A prepared transaction
# has no process; it is known by the lock on its own id.
_HOLDERS = """
with ours as (
  select a.pid from pg_stat_activity a
   where a.datname = current_database()
     and a.application_name in ('cdc watch', 'cdc fetch', 'cdc settle', 'cdc care',
                                'cdc backfill', 'cdc backfill read', 'cdc test', 'cdc mail')
), blocking as (
  select b.pid, null::text as gid, 'what a daemon waits for just now' as what, false as whole
    from pg_stat_activity a cross join unnest(pg_blocking_pids(a.pid)) b (pid)
   where a.pid in (select pid from ours) and a.wait_event_type = 'Lock' and b.pid <> 0
), holding as (
  select l.pid, p.gid, 'the lock ' || l.mode || ' on cdc.' || c.relname as what,
         l.mode not like 'Row%%' as whole
    from pg_locks l join pg_class c on c.oid = l.relation
    left join pg_locks x on l.pid is null and x.pid is null and x.locktype = 'transactionid'
                        and x.virtualtransaction = l.virtualtransaction
    left join pg_prepared_xacts p on p.transaction = x.transactionid
   where l.locktype = 'relation' and l.granted
     and l.database = (select oid from pg_database where datname = current_database())
     and c.relnamespace = 'cdc'::regnamespace
     and l.mode not in ('AccessShareLock', 'ShareUpdateExclusiveLock')
     and (c.relname in ('webhook', 'retry', 'dead', 'lane', 'shard')
          or c.relname = 'queue' and l.mode <> 'RowExclusiveLock'
          or c.relname ~ '^attempt(_[0-9]+)?$' and l.mode not like 'Row%%')
)
select h.pid, h.gid, (array_agg(h.what order by h.whole desc, h.what))[1], bool_or(h.whole),
       coalesce(a.usename, p.owner)::text, coalesce(nullif(a.application_name, ''), 'no name'),
       coalesce(a.state, 'unknown'),
       extract(epoch from clock_timestamp() - coalesce(a.xact_start, p.prepared))::float8,
       extract(epoch from clock_timestamp() - a.query_start)::float8
  from (select * from blocking union all select * from holding) h
  left join pg_stat_activity a on a.pid = h.pid
  left join pg_prepared_xacts p on p.gid = h.gid
 where h.pid is distinct from pg_backend_pid()
   and (h.pid is null or h.pid not in (select o.pid from ours o))
   -- Of another account's session an ordinary one sees no time; a whole table is locked anyhow.
   and case when coalesce(a.xact_start, p.prepared) is null then h.whole
            else coalesce(a.xact_start, p.prepared)
                   < clock_timestamp() - make_interval(secs => %s) end
 group by h.pid, h.gid, a.usename, p.owner, a.application_name, a.state, a.xact_start, p.prepared,
          a.query_start
 order by bool_or(h.whole) desc, coalesce(a.xact_start, p.prepared)
"""


class BlockingSession(NamedTuple):
    """pid: None where a prepared transaction holds it (gid). whole: a table is locked, not rows of
    it. since, query: seconds since its transaction, and its last statement, began."""

    pid: int | None
    gid: str | None
    what: str
    whole: bool
    user: str | None
    application: str
    state: str
    since: float | None
    query: float | None

    def __str__(self) -> str:
        if self.pid is None:
            whose = f"prepared transaction {self.gid!r} of {self.user}"
            return f"{whose} holds {self.what}, since {age(self.since)}"
        who = f"process {self.pid} ({self.application}, user {self.user}, {self.state})"
        since = (
            ""
            if self.since is None
            else f"; its transaction is open for {age(self.since)}, its last statement began "
            f"{age(self.query)} ago"
        )
        return f"{who} holds {self.what}{since}"

    @property
    def end(self) -> str:
        if self.pid is None:
            return f"commit prepared '{self.gid}', or rollback prepared '{self.gid}'"
        return f"Wait for its end, or end it: select pg_terminate_backend({self.pid})"


def blocking_sessions(conn: psycopg.Connection[Any]) -> list[BlockingSession]:
    """Those that keep daemons from recording for ``LOCK_HELD_S`` or more, whole tables first."""
    return [
        BlockingSession(*row) for row in conn.execute(_HOLDERS.encode(), [LOCK_HELD_S]).fetchall()
    ]


def recording(see: Patient) -> Result:
    """no session and no prepared transaction holds rows (a warning) or whole tables (a failure)
    that daemons write for longer than 5 s; names process, user, application, since when"""
    holders = blocking_sessions(see.conn)
    if not holders and not see.sees_sessions:
        return unseen("sessions that keep daemons from recording")
    if not holders:
        return ok("no session holds rows or tables that daemons write")
    first = holders[0]
    more = f"; and {len(holders) - 1} more such" if len(holders) > 1 else ""
    if first.whole:
        return fail(
            f"{first}: daemons cannot record what they send{more}",
            f"They stop sending after 500 more deliveries; nothing is lost. {first.end}",
        )
    return warn(
        f"{first}{more}",
        "Deliveries of the rows that it has locked are recorded when it ends; everything else "
        f"continues. {first.end}",
    )
