"""Who keeps daemons from recording what they have sent: rows or tables of ours that another session
holds, and whatever a daemon waits for at this moment."""

from __future__ import annotations

from typing import NamedTuple

from cdc.cli.common import age
from cdc.cli.doctor.base import Patient, Told, ok, unseen, warn

LONG = 5.0
"""Seconds that a transaction of another session may hold such a lock without being named."""

# Daemons ask for a lock for moments only (0.1 s), so a wait is rarely seen: holders are looked for
# instead. Which rows a session has locked cannot be seen, but the lock on their table can. Writers
# of the suite hold RowExclusiveLock on the queue, and nothing on the others.
_HOLDERS = """
with ours as (
  select a.pid from pg_stat_activity a
   where a.datname = current_database()
     and a.application_name in ('cdc watch', 'cdc fetch', 'cdc settle', 'cdc care')
), blocking as (
  select b.pid, 'what a daemon waits for just now' as what
    from pg_stat_activity a cross join unnest(pg_blocking_pids(a.pid)) b (pid)
   where a.pid in (select pid from ours) and a.wait_event_type = 'Lock'
), holding as (
  select l.pid, 'the lock ' || l.mode || ' on cdc.' || c.relname as what
    from pg_locks l join pg_class c on c.oid = l.relation
   where l.locktype = 'relation' and l.granted
     and l.database = (select oid from pg_database where datname = current_database())
     and c.relnamespace = 'cdc'::regnamespace
     and l.mode not in ('AccessShareLock', 'ShareUpdateExclusiveLock')
     and (c.relname in ('webhook', 'retry', 'dead', 'lane', 'shard')
          or c.relname = 'queue' and l.mode <> 'RowExclusiveLock'
          or c.relname ~ '^attempt(_[0-9]+)?$' and l.mode not like 'Row%%')
)
select h.pid, min(h.what), a.usename::text, coalesce(nullif(a.application_name, ''), 'no name'),
       coalesce(a.state, 'unknown'),
       extract(epoch from clock_timestamp() - a.xact_start)::float8,
       extract(epoch from clock_timestamp() - a.query_start)::float8
  from (select * from blocking union all select * from holding) h
  join pg_stat_activity a on a.pid = h.pid
 where h.pid <> pg_backend_pid() and h.pid not in (select pid from ours)
   and a.xact_start < clock_timestamp() - make_interval(secs => %s)
 group by h.pid, a.usename, a.application_name, a.state, a.xact_start, a.query_start
 order by a.xact_start
"""


class _Holder(NamedTuple):
    """since, query: seconds since its transaction, and its last statement, began."""

    pid: int
    what: str
    user: str | None
    application: str
    state: str
    since: float
    query: float

    def __str__(self) -> str:
        return (
            f"process {self.pid} ({self.application}, user {self.user}, {self.state}) holds "
            f"{self.what}; its transaction is open for {age(self.since)}, its last statement began "
            f"{age(self.query)} ago"
        )


def recording(see: Patient) -> Told:
    """Sessions that hold what daemons write."""
    if not see.sees_sessions:
        return unseen("who keeps daemons from recording what they have sent")
    holders = [_Holder(*row) for row in see.rows(_HOLDERS, LONG)]
    if not holders:
        return ok("no session holds what daemons write")
    more = f"; and {len(holders) - 1} more such" if len(holders) > 1 else ""
    return warn(
        f"{holders[0]}{more}",
        "Deliveries of the rows that it has locked are recorded when it ends, everything else goes "
        f"on. Let it end, or end it: select pg_terminate_backend({holders[0].pid})",
    )
