"""What a client can see, and what others see of it."""

from __future__ import annotations

from typing import Any

from psycopg.pq import TransactionStatus

from tests.writers.conformance.database import Connection, Database
from tests.writers.conformance.model import Seen

ISOLATION = ("transaction_isolation", "transaction_read_only", "transaction_deferrable")

# Asked by another session, before the writer's own questions take locks.
LOCKS = """
select case
         when l.relation is not null
           then coalesce(regexp_replace(n.nspname, '_[0-9]+$', '') || '.' || c.relname, 'a new one')
         when l.locktype = 'advisory' then 'advisory ' || l.classid || ' ' || l.objid
         else l.locktype
       end || ' ' || l.mode as held, count(*)
  from pg_locks l
  left join pg_class c on c.oid = l.relation
  left join pg_namespace n on n.oid = c.relnamespace
 where l.pid = %s and l.locktype <> 'virtualxid'
 group by 1 order by 1
"""
SUBTRANSACTIONS = """
select s.subxact_count, s.subxact_overflowed
  from pg_stat_get_backend_idset() b, pg_stat_get_backend_subxact(b) s
 where pg_stat_get_backend_pid(b) = %s
"""

# Asked by the writer's session. The settings first: a function of PL/pgSQL adds some.
SETTINGS = """
select array(select name || '=' || coalesce(setting, 'null') from pg_settings order by name)
"""
SESSION = """
select watch.last(),
       array(select s || '=' || coalesce(watch.current(s::regclass), 'null')
               from unnest(array['public.project_id_seq', 'public.candidate_id_seq',
                                 'public.note_id_seq', 'public.ticket_id_seq',
                                 'public.audit_id_seq']) s),
       array(select name || ': ' || statement from pg_prepared_statements order by 1),
       array(select name || ': ' || statement from pg_cursors order by 1),
       random()::text
"""

TABLES = ("company", "project", "candidate", "rating", "note", "ticket", "audit")
CONTENTS = "select {!r}, count(*), md5(string_agg(t::text, ';' order by t::text)) from {} t"


def look(seen: Seen, place: str, conn: Connection, database: Database) -> None:
    """One look at the session, from outside and from inside."""
    outside(seen, place, conn, database)
    if conn.info.transaction_status == TransactionStatus.INERROR:
        return
    for setting in _row(conn, SETTINGS)[0]:
        kind = "isolation" if setting.split("=")[0] in ISOLATION else "settings"
        seen.add(kind, f"{place}: {setting}")
    last, current, prepared, cursors, random = _row(conn, SESSION)
    seen.add("lastval", f"{place}: {last}")
    seen.add("random", f"{place}: {random}")
    for observation, found in (("currval", current), ("prepared", prepared), ("cursors", cursors)):
        for item in found:
            seen.add(observation, f"{place}: {item}")


def outside(seen: Seen, place: str, conn: Connection, database: Database) -> None:
    pid = conn.info.backend_pid
    for lock, count in database.watch.execute(LOCKS, [pid]):
        if lock.startswith("transactionid"):
            seen.add("transactions", f"{place}: {count} held")
        else:
            seen.add("locks", f"{place}: {lock}")
    if database.release >= 16:
        for row in database.watch.execute(SUBTRANSACTIONS, [pid]):
            seen.add("subtransactions", f"{place}: {row}")


def contents(seen: Seen, database: Database) -> None:
    """What the tables hold afterwards."""
    query = " union all ".join(CONTENTS.format(table, table) for table in TABLES)
    for row in database.watch.execute(query.encode()):
        seen.add("contents", row)


def _row(conn: Connection, sql: str) -> tuple[Any, ...]:
    (row,) = conn.execute(sql.encode()).fetchall()
    return tuple(row)
