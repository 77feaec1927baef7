"""Sessions that stop the suite's writers, or keep their changes from the queue: a strong lock on
one of the few tables that capture touches, or a standby that their COMMIT waits for."""

from __future__ import annotations

from typing import Any, NamedTuple

from cdc.capture.parent_lookup import tables_read
from cdc.diagnosis.doctor.check import Patient, Result, fail, ok, warn
from cdc.wording import age, counted

# Capture inserts into the first ones and only reads the others, and the suite's; what conflicts
# follows from that.
_HOLDERS = """
with touched(oid, conflicting) as (
  select to_regclass('cdc.' || name),
         '{ShareLock,ShareRowExclusiveLock,ExclusiveLock,AccessExclusiveLock}'::text[]
    from unnest('{queue,queue_id,unresolved}'::text[]) name
  union all
  select to_regclass(name), '{AccessExclusiveLock}'
    from unnest('{cdc.subscription,cdc.bell}'::text[] || %s::text[]) name
), locked as (
  select l.pid, l.granted, l.mode, l.virtualtransaction, c.oid,
         format('%%s.%%s', c.relnamespace::regnamespace, c.relname) as name
    from pg_locks l
    join pg_class c on c.oid = l.relation
    join touched t on t.oid = c.oid and l.mode = any(t.conflicting)
   where l.locktype = 'relation'
     and l.database = (select oid from pg_database where datname = current_database())
     and l.pid is distinct from pg_backend_pid()
)
select k.pid, p.gid, coalesce(a.application_name, ''), coalesce(a.usename, p.owner)::text,
       k.mode, k.name, k.granted,
       extract(epoch from clock_timestamp() - coalesce(a.xact_start, p.prepared))::float8,
       (select count(*) from pg_locks w where w.relation = k.oid and not w.granted)
  from locked k
  left join pg_stat_activity a on a.pid = k.pid
  -- A prepared transaction has no process; it is known by the lock on its own id.
  left join pg_locks x on k.pid is null and x.pid is null and x.locktype = 'transactionid'
                      and x.virtualtransaction = k.virtualtransaction
  left join pg_prepared_xacts p on p.transaction = x.transactionid
 order by k.granted desc, starts_with(k.name, 'cdc.') desc, coalesce(a.xact_start, p.prepared)
"""


class _LockHolder(NamedTuple):
    """pid: None where a prepared transaction holds it (gid). since: seconds; None: not to be seen.
    waiting: sessions that wait for a lock on the table."""

    pid: int | None
    gid: str | None
    application: str
    user: str | None
    mode: str
    name: str
    granted: bool
    since: float | None
    waiting: int

    def __str__(self) -> str:
        mode = self.mode.removesuffix("Lock")
        open_for = "" if self.since is None else f", its transaction open for {age(self.since)}"
        who = (
            f"prepared transaction {self.gid!r} of {self.user}"
            if self.pid is None
            else f"process {self.pid} ({self.application or 'no name'}, user {self.user})"
        )
        does = "holds" if self.granted else "waits for"
        waiting = f"{counted(self.waiting, 'session')} waiting"
        behind = waiting if self.waiting else "no session waits"
        return f"{who} {does} the lock {mode} on {self.name}{open_for}; {behind} there"

    @property
    def todo(self) -> str:
        if self.pid is None:
            end = f"rollback prepared '{self.gid}', or commit it."
        else:
            end = f"Wait for its end, or end it: select pg_terminate_backend({self.pid})"
        what = (
            "Writers of the suite may wait for it"
            if self.name == "cdc.unresolved"
            else "Changes go to cdc.unresolved meanwhile, and are captured when it ends"
        )
        return f"{what}; nothing is lost. {end}"


def writers(see: Patient) -> Result:
    """no session holds a lock that the suite's writers wait for, or that sends changes to
    `cdc.unresolved`"""
    read = [table.sql for table in tables_read(see.mapping)]
    found: list[tuple[Any, ...]] = see.rows(_HOLDERS, read)
    if not found:
        return ok("no session holds a lock that stops capture")
    holder = _LockHolder(*found[0])
    more = f"; and {len(found) - 1} more such" if len(found) > 1 else ""
    ours = holder.name.startswith("cdc.")
    return (fail if ours else warn)(f"{holder}{more}", holder.todo)


WAITED = 5.0
"""Seconds at COMMIT that a standby may take without being reported."""


def commits(see: Patient) -> Result:
    """no COMMIT waits for a synchronous standby that is gone, or far behind"""
    count, longest = see.row(
        """
        select count(*), max(extract(epoch from clock_timestamp() - state_change))::float8
          from pg_stat_activity
         where wait_event = 'SyncRep'
           and state_change < clock_timestamp() - make_interval(secs => %s)
        """,
        WAITED,
    )
    if not count:
        return ok("no COMMIT waits for a standby")
    return fail(
        f"{counted(count, 'session')} at COMMIT, waiting for a synchronous standby, the longest "
        f"for {age(longest)}",
        "Nothing is lost; their changes are not visible and not sent yet. Bring back the standby "
        "that synchronous_standby_names requires (pg_stat_replication lists those connected), or "
        "remove it there.",
    )
