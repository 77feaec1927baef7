"""Strong locks without blocking others: short tries, pauses between them, and the holder's name.

A session that waits for a strong lock makes all later requests queue behind it. So a try is given
up soon, and between tries the others continue.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import errors as pg

from cdc.errors import DatabaseError

Say = Callable[[str], None]

GROWTH = 1.5
LONGEST = 10.0
"""Times the first pause."""


@dataclass(frozen=True, slots=True)
class LockRetry:
    """lock_timeout_ms: how long a try waits for a lock, and so how long others may have to.
    tries: how many there are. pause: seconds after the first; each is half as long again, up to ten
    times."""

    lock_timeout_ms: int = 500
    tries: int = 20
    pause: float = 1.0

    def after(self, attempt: int) -> float:
        """Seconds to pause after this try; the first is 1."""
        # Bounded before it is raised: 1.5 to the power of 10,000 exceeds a float.
        growth: float = GROWTH ** min(attempt - 1, 20)
        return self.pause * min(growth, LONGEST)


@dataclass(frozen=True, slots=True)
class WantedLock:
    """A table lock: its mode, and on which tables, as their names are written in SQL."""

    mode: str
    tables: tuple[str, ...]


def with_lock_retry(
    act: Callable[[], None],
    what: str,
    lock_retry: LockRetry,
    say: Say,
    holders: Callable[[], str],
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Carries out ``act``, a transaction of its own, again and again until it gets its locks.

    holders: names what is in the way; asked after a try has failed.
    Raises DatabaseError when no try has succeeded.
    """
    for attempt in range(1, lock_retry.tries + 1):
        try:
            return act()
        except Exception as error:
            # SQLAlchemy wraps the driver's errors.
            original = getattr(error, "orig", None) or error
            if not isinstance(original, pg.LockNotAvailable | pg.DeadlockDetected):
                raise
        who = holders()
        if attempt == lock_retry.tries:
            tries = "1 try" if attempt == 1 else f"{attempt} tries"
            raise DatabaseError(
                f"{what} is locked by another session: gave up after {tries} of "
                f"{lock_retry.lock_timeout_ms} ms" + (f"; {who}" if who else ""),
                advice(who),
            )
        say(
            f"{what} is locked, waiting (try {attempt} of {lock_retry.tries})"
            + (f": {who}" if who else "")
        )
        sleep(lock_retry.after(attempt))


_STRONG = (
    "RowExclusiveLock",
    "ShareUpdateExclusiveLock",
    "ShareLock",
    "ShareRowExclusiveLock",
    "ExclusiveLock",
    "AccessExclusiveLock",
)
_CONFLICTING = {
    "ACCESS SHARE": ("AccessExclusiveLock",),
    "ACCESS EXCLUSIVE": ("AccessShareLock", "RowShareLock", *_STRONG),
}

AUTOVACUUM = "autovacuum worker"
"""As pg_stat_activity calls it; it has no user."""

# A session that began after the try that failed did not make it fail: it came later, or queued.
_HOLDERS = """
select case when l.pid is null then format('prepared transaction %%L of %%s', p.gid, p.owner)
            else format('pid %%s (%%s%%s, %%s%%s)', l.pid, coalesce(a.usename, a.backend_type),
                        ', ' || nullif(a.application_name, ''),
                        coalesce(a.state, a.backend_type, 'unknown'),
                        ' for ' || date_trunc('second', clock_timestamp() - a.xact_start)::text)
       end
  from pg_locks l left join pg_stat_activity a on a.pid = l.pid
  -- A prepared transaction has no process; it is known by the lock on its own id.
  left join pg_locks x on l.pid is null and x.pid is null and x.locktype = 'transactionid'
                      and x.virtualtransaction = l.virtualtransaction
  left join pg_prepared_xacts p on p.transaction = x.transactionid
 where l.locktype = 'relation' and l.granted and l.pid is distinct from pg_backend_pid()
   and l.database = (select oid from pg_database where datname = current_database())
   and l.relation in (select to_regclass(named) from unnest(%s::text[]) named)
   and l.mode = any(%s)
   and (a.xact_start is null
        or a.xact_start < clock_timestamp() - %s * interval '1 millisecond')
 group by l.pid, p.gid, p.owner, a.usename, a.application_name, a.state, a.backend_type,
          a.xact_start
 order by a.xact_start nulls first
 limit 3
"""


def holders(
    conn: psycopg.Connection[Any], wanted: Collection[WantedLock], waited_ms: int = 0
) -> str:
    """Holders of locks that conflict with these, from before a session began to wait for them; the
    oldest transaction first; '' if there are none."""
    found: list[str] = []
    for lock in wanted:
        modes = list(_CONFLICTING.get(lock.mode, _STRONG))
        rows = conn.execute(_HOLDERS, (list(lock.tables), modes, waited_ms)).fetchall()
        found += [row[0] for row in rows if row[0] not in found]
    return ", ".join(found[:3])


def advice(who: str) -> str:
    """What to do about those whom ``holders`` has found."""
    if AUTOVACUUM in who:
        return (
            "An autovacuum gives way to a session that has waited for deadlock_timeout (by default "
            "1 s): use `--lock-timeout 1500`. One that prevents wraparound must end first."
        )
    if "prepared transaction" in who:
        return (
            "Commit it (`commit prepared`) or roll it back (`rollback prepared`); then run the "
            "command again."
        )
    if not who:
        return (
            "`select pid, query from pg_stat_activity where state = 'idle in transaction'` shows "
            "the session; then run the command again."
        )
    return (
        "Wait for its end, or end it: `select pg_terminate_backend(<pid>)`; then run the command "
        "again."
    )
