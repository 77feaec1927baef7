"""Does the suite have this company? Asked where it can be seen, which it need not be."""

from __future__ import annotations

import psycopg
from psycopg import errors as pg

from cdc.db import connect
from cdc.errors import UsageError
from cdc.mapping import Mapping
from cdc.mapping.model import quote

_TYPE = """
select format_type(a.atttypid, a.atttypmod)
  from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
 where n.nspname = $1 and c.relname = $2 and a.attname = $3 and not a.attisdropped
"""


def doubt(url: str, mapping: Mapping, company: str) -> str | None:
    """What speaks against this company, in words; None when nothing does or nothing can be seen.

    Raises UsageError for a company that can never match: its key has another type, or the database
    writes the same key otherwise (``01`` for 1).
    """
    table, key = mapping.company.table, mapping.company.key
    with connect(url, cursor_factory=psycopg.RawCursor) as conn:
        found = conn.execute(_TYPE, [table.schema, table.name, key]).fetchone()
        if found is None:
            return f"table {table} with column {key} is not in this database (yet)"
        kind = found[0]
        try:
            written = conn.execute(f"select cast($1::text as {kind})::text", [company]).fetchone()
        except psycopg.DataError:
            raise UsageError(
                f"company {company!r} cannot be a key of {table}: {key} is {kind}"
            ) from None
        if written is None or written[0] != company:
            shown = written and written[0]
            raise UsageError(
                f"company {company!r} would never match: the database writes it {shown!r}",
                f"Use --company {shown}",
            )
        try:
            with conn.transaction():
                # Whoever holds a lock on the table makes nobody wait for a mere warning.
                conn.execute("set local lock_timeout = '1s'; set local statement_timeout = '3s'")
                there = conn.execute(
                    # Names quoted by us, and a type by the catalogue.
                    f"select from {table.sql} where {quote(key)} = cast($1::text as {kind})",  # noqa: S608
                    [company],
                ).fetchone()
        except (pg.InsufficientPrivilege, pg.LockNotAvailable, pg.QueryCanceled):
            return None
    return None if there is not None else f"{table} has no company {company} (yet)"
