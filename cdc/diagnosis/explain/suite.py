"""Whose row is it? Asked of the suite's tables, where the account may read them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import errors as pg

from cdc.capture.fit import fitted
from cdc.capture.trusted_owners import owners_trusted
from cdc.errors import UsageError
from cdc.mapping import Mapping, Resource
from cdc.mapping.model import COMPANY, quote

Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class FoundRow:
    """exists: None where it could not be seen.  company: None where no path leads to one."""

    exists: bool | None
    company: str | None = None


def find(conn: Connection, mapping: Mapping, resource: Resource, key: str) -> FoundRow:
    """Follows the paths of the mapping from the row to its company, the first that arrives.

    Not where a table's owner may less than this account: reading it runs what they put there."""
    if not owners_trusted(conn, [each.table for each in mapping.resources.values()]):
        return FoundRow(None)
    try:
        with conn.transaction():
            # A lock on the table must not make us wait.
            conn.execute("set local lock_timeout = '1s'")
            conn.execute("set local statement_timeout = '3s'")
            here = fitted(conn, mapping)
            return _walk(conn, here, here.resources[resource.name], key)
    except (
        *(pg.InsufficientPrivilege, pg.LockNotAvailable, pg.QueryCanceled),
        *(pg.UndefinedTable, pg.UndefinedColumn, pg.DataError),
    ):
        return FoundRow(None)


def refuse_impossible(conn: Connection, resource: Resource, key: str) -> None:
    """Raises UsageError for a key that its column (of a type of PostgreSQL's own) cannot hold."""
    found = conn.execute(
        "select format_type(a.atttypid, a.atttypmod)"
        "  from pg_attribute a join pg_type t on t.oid = a.atttypid"
        " where a.attrelid = to_regclass(%s) and a.attname = %s"
        "   and t.typnamespace = 'pg_catalog'::regnamespace",
        [resource.table.sql, resource.key],
    ).fetchone()
    if found is None:
        return
    try:
        conn.execute(f"select cast(%s as {found[0]})".encode(), [key])
    except pg.DataError:
        raise UsageError(
            f"invalid key {key!r}: the key of {resource.table} is {resource.key}, of type "
            f"{found[0]}",
            "Give the value of that column.",
        ) from None


def _walk(conn: Connection, mapping: Mapping, resource: Resource, key: str) -> FoundRow:
    columns = list(resource.parents.values())
    listed = ", ".join(f"{quote(column)}::text" for column in columns) or "1"
    table = resource.table.sql
    # Names quoted by us, a type named by the catalogue, the key a parameter.
    (kind,) = conn.execute(
        "select format_type(atttypid, atttypmod) from pg_attribute"
        " where attrelid = %s::regclass and attname = %s",
        [table, resource.key],
    ).fetchone() or ("text",)
    row = conn.execute(
        f"select {listed} from {table} where {quote(resource.key)} = cast(%s as {kind})".encode(),  # noqa: S608 - see above
        [key],
    ).fetchone()
    if row is None:
        return FoundRow(False)
    for (parent, _), value in zip(resource.parents.items(), row, strict=False):
        if value is None:
            continue
        if parent == COMPANY:
            return FoundRow(True, value)
        above = _walk(conn, mapping, mapping.resources[parent], value)
        if above.company is not None:
            return FoundRow(True, above.company)
    return FoundRow(True)
