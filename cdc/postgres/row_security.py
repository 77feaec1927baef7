"""Whether row-level security hides rows from a role of ours, or refuses to take them.

Shown are all rows where a policy applies that is simply ``true``, and no restrictive one. What else
a policy asks for depends on rows and sessions: it may hide some, now or later.
"""

from __future__ import annotations

from typing import Any

import psycopg

Connection = psycopg.Connection[Any]

_HELD = """(not r.rolsuper and not r.rolbypassrls and c.relrowsecurity
  and (c.relforcerowsecurity or not pg_has_role(r.oid, c.relowner, 'usage')))"""
"""Row-level security of table ``c`` holds for role ``r``."""

_APPLIES = """(0 = any(p.polroles)
  or exists (select from unnest(p.polroles) held where pg_has_role(r.oid, held, 'usage')))"""

POLICY_HIDES = f"""({_HELD} and (
  not exists (select from pg_policy p
               where p.polrelid = c.oid and p.polpermissive and p.polcmd in ('*', 'r')
                 and {_APPLIES} and pg_get_expr(p.polqual, p.polrelid) = 'true')
  or exists (select from pg_policy p
              where p.polrelid = c.oid and not p.polpermissive and p.polcmd in ('*', 'r')
                and {_APPLIES} and pg_get_expr(p.polqual, p.polrelid) <> 'true')))"""  # noqa: S608 - no value is in it
"""Rows of table ``c`` may be hidden from role ``r``."""

# Ours are read and written, and each has a policy for all of that.
_FILTERED = f"""
select c.relname::text, array_agg(r.rolname::text order by r.rolname)
  from pg_class c
  join pg_roles r on r.rolname = any(%s)
 where c.relnamespace = to_regnamespace('cdc') and c.relkind in ('r', 'p') and {_HELD}
   and (not exists (select from pg_policy p
                     where p.polrelid = c.oid and p.polpermissive and p.polcmd = '*' and {_APPLIES}
                       and pg_get_expr(p.polqual, p.polrelid) = 'true'
                       and coalesce(pg_get_expr(p.polwithcheck, p.polrelid), 'true') = 'true')
        or exists (select from pg_policy p
                    where p.polrelid = c.oid and not p.polpermissive and {_APPLIES}
                      and (pg_get_expr(p.polqual, p.polrelid) <> 'true'
                           or pg_get_expr(p.polwithcheck, p.polrelid) <> 'true')))
 group by 1
 order by 1
"""  # noqa: S608 - no value is in it

ROLES = ("cdc_owner", "cdc_capture", "cdc_daemon", "cdc_admin", "cdc_reader", "cdc_serve")


def filtered(conn: Connection) -> dict[str, list[str]]:
    """Tables of ours of which rows are hidden or refused, and from which roles of ours."""
    return {
        table: list(roles) for table, roles in conn.execute(_FILTERED, [list(ROLES)]).fetchall()
    }


def unprotected(conn: Connection) -> list[str]:
    """Tables of ours without their policy: row-level security would hide all rows."""
    rows = conn.execute(
        "select c.relname::text from pg_class c"
        " where c.relnamespace = to_regnamespace('cdc') and c.relkind in ('r', 'p')"
        "   and not exists (select from pg_policy p"
        "                    where p.polrelid = c.oid and p.polname = 'grants_decide') order by 1"
    )
    return [name for (name,) in rows.fetchall()]
