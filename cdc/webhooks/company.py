"""Does the suite have these companies? Asked where it can be seen, which it need not be."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import psycopg
from psycopg import errors as pg

from cdc.errors import UsageError
from cdc.mapping import Mapping
from cdc.mapping.model import quote
from cdc.model import SYSTEM
from cdc.postgres.connections import connect, explained
from cdc.webhooks import checks

Connection = psycopg.Connection[Any]

# plain: a type of PostgreSQL's own. Using another one could run code of the role that made it.
# trusted: so could reading another role's table, with the rights of the reader, and a role that may
# register webhooks may read secrets. So only tables are read whose owner could do as much anyway,
# and of which no policy hides rows.
_TYPE = """
select format_type(a.atttypid, a.atttypmod),
       t.typnamespace = 'pg_catalog'::regnamespace as plain,
       c.relkind in ('r', 'p')
         and (c.relowner = me.oid or owner.rolsuper
              or (not me.rolsuper and pg_has_role(me.oid, c.relowner, 'usage')))
         and not row_security_active(c.oid) as trusted
  from pg_attribute a
  join pg_type t on t.oid = a.atttypid
  join pg_class c on c.oid = a.attrelid
  join pg_namespace n on n.oid = c.relnamespace
  join pg_roles owner on owner.oid = c.relowner
  join pg_roles me on me.rolname = current_user
 where n.nspname = $1 and c.relname = $2 and a.attname = $3 and not a.attisdropped
"""


def doubts(url: str, mapping: Mapping, companies: Iterable[str]) -> list[str]:
    """What speaks against these companies, in words; or that nothing could be looked at.

    Raises UsageError for a company that can never match: its key has another type, or the database
    writes the same key otherwise (``01`` for 1).
    """
    of_the_suite = [company for company in companies if company != SYSTEM]
    if not of_the_suite:
        return []
    table, key = mapping.company.table, mapping.company.key
    with explained(), connect(url, cursor_factory=psycopg.RawCursor) as conn:
        found = conn.execute(_TYPE, [table.schema, table.name, key]).fetchone()
        if found is None:
            return [f"table {table} with column {key} is not in this database (yet)"]
        kind, plain, trusted = found
        notes = []
        for company in of_the_suite:
            checks.company(company)
            if plain:
                _must_match(conn, mapping, company, kind)
            there = _is_there(conn, mapping, company, kind) if plain and trusted else None
            if there is None:
                notes.append(
                    f"whether {table} has a company {company} cannot be checked with this account"
                )
            elif not there:
                notes.append(f"{table} has no company {company} (yet)")
        return notes


def _must_match(conn: Connection, mapping: Mapping, company: str, kind: str) -> None:
    try:
        row = conn.execute(f"select cast($1::text as {kind})::text", [company]).fetchone()
    except psycopg.DataError:
        where = f"{mapping.company.table}.{mapping.company.key}"
        by_name = (
            "names can be given, too, once `name` in the mapping's [company] says which column "
            "has them (docs/mapping.md)"
            if mapping.company.name is None
            else "or a name as in the column of names, where this account can read it"
        )
        raise UsageError(
            f"invalid company {company!r}: expected a value of {where}, of type {kind}",
            f"Give a key, as in --company 17; {by_name}.",
        ) from None
    if row is None or row[0] != company:
        written = row and row[0]
        raise UsageError(
            f"company {company!r} would never match: the database writes it {written!r}",
            f"Use --company {written}",
        )


def _is_there(conn: Connection, mapping: Mapping, company: str, kind: str) -> bool | None:
    """None where it cannot be seen."""
    table, key = mapping.company.table.sql, quote(mapping.company.key)
    # Names quoted by us, a type named by the catalogue; the value is a parameter.
    sql = f"select 1 from {table} where {key} = cast($1::text as {kind})"  # noqa: S608 - see above
    rows = _seen(conn, sql, [company])
    return None if rows is None else bool(rows)


def names(url: str, mapping: Mapping, companies: Iterable[str]) -> dict[str, str]:
    """The companies' names by their keys; without those that have none, or whose name this account
    cannot read."""
    listed = list(dict.fromkeys(companies))
    return dict(_named(url, mapping, "c.key = any($1)", listed)) if listed else {}


def keyed(url: str, mapping: Mapping, given: str) -> str:
    """The key of the company of this key or name; what names none is left as it is.

    Raises UsageError for a name that several companies have.
    """
    found = _named(url, mapping, "$1 in (c.key, c.name)", given)
    keys = [key for key, _ in found]
    if given in keys or not keys:
        return given
    if len(keys) > 1:
        more = ", ..." if len(keys) > SHOWN_KEYS else ""
        raise UsageError(
            f"several companies are named {given!r}: {', '.join(keys[:SHOWN_KEYS])}{more}",
            f"Name one by its key: --company {keys[0]}",
        )
    return keys[0]


def _named(url: str, mapping: Mapping, condition: str, value: object) -> list[tuple[str, str]]:
    """Keys and names, where the mapping has a column of names and this account can read it."""
    company = mapping.company
    if company.name is None:
        return []
    with explained(), connect(url, cursor_factory=psycopg.RawCursor) as conn:
        for column in (company.key, company.name):
            found = conn.execute(_TYPE, [company.table.schema, company.table.name, column])
            _, plain, trusted = found.fetchone() or ("", False, False)
            if not (plain and trusted):
                return []
        # Names quoted by us; the value is a parameter.
        sql = f"""
            select * from (select {quote(company.key)}::text as key,
                                  {quote(company.name)}::text as name
                             from {company.table.sql}) c
             where {condition} and c.name is not null order by c.key
        """  # noqa: S608 - see above
        return _seen(conn, sql, [value]) or []


SHOWN_KEYS = 5
"""Companies of one name that an error lists."""
LONGEST_LOOK = "3s"


def _seen(conn: Connection, sql: str, values: list[object]) -> list[Any] | None:
    """What a look at the suite's table shows; None where this account may not, or it takes long:
    nothing here is worth waiting for a lock."""
    try:
        with conn.transaction():
            conn.execute("set local lock_timeout = '1s'")
            conn.execute(f"set local statement_timeout = '{LONGEST_LOOK}'")
            return conn.execute(sql, values).fetchall()
    except (pg.InsufficientPrivilege, pg.LockNotAvailable, pg.QueryCanceled):
        return None


def gone(conn: Connection, mapping: Mapping) -> dict[str, list[int]] | None:
    """Registered companies that the suite does not have, and their webhooks; None where that cannot
    be seen, or takes too long."""
    table, key = mapping.company.table, mapping.company.key
    cursor = psycopg.RawCursor(conn)
    try:
        with conn.transaction():
            cursor.execute("set local lock_timeout = '1s'")
            cursor.execute(f"set local statement_timeout = '{LONGEST_LOOK}'")
            found = cursor.execute(_TYPE, [table.schema, table.name, key]).fetchone()
            if found is None or not (found[1] and found[2]):
                return None
            rows = cursor.execute(
                # Names quoted by us.
                "select w.company, array_agg(w.id order by w.id) from cdc.webhook w"  # noqa: S608 - see above
                " where w.state <> 'removed' and w.company <> '' and not exists ("
                f"   select from {table.sql} c where c.{quote(key)}::text = w.company)"
                " group by 1 order by 1"
            ).fetchall()
    except (pg.InsufficientPrivilege, pg.LockNotAvailable, pg.QueryCanceled):
        return None
    return {company: list(webhooks) for company, webhooks in rows}


def named(found: dict[str, list[int]]) -> str:
    """The first of them in words."""
    companies = [
        f"company {company} (webhook {', '.join(map(str, webhooks[:3]))}"
        + (", ..." if len(webhooks) > 3 else "")
        + ")"
        for company, webhooks in list(found.items())[:3]
    ]
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return f"{', '.join(companies)}{more}"
