"""Whose row is it? Asked of the suite's tables, where the account may read them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import errors as pg

from cdc.capture.fit import fitted
from cdc.capture.trusted_owners import owners_trusted
from cdc.errors import UsageError
from cdc.mapping import Mapping, Resource, row_keys
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
            one = here.resources[resource.name]
            return _walk(conn, here, one, _values(one, key))
    except (
        *(pg.InsufficientPrivilege, pg.LockNotAvailable, pg.QueryCanceled),
        *(pg.UndefinedTable, pg.UndefinedColumn, pg.DataError),
    ):
        return FoundRow(None)


def refuse_impossible(conn: Connection, resource: Resource, key: str) -> None:
    """Raises UsageError for a key that its columns (of types of PostgreSQL's own) cannot hold."""
    values = _values(resource, key)
    if len(values) != len(resource.key):
        raise UsageError(
            f"invalid key {key!r}: the key of {resource.table} is {', '.join(resource.key)}",
            "Give their values, with a slash between two of them; within one, write a slash as "
            "%2F, and a percent sign as %25.",
        )
    for column, value in zip(resource.key, values, strict=True):
        found = conn.execute(
            "select format_type(a.atttypid, a.atttypmod)"
            "  from pg_attribute a join pg_type t on t.oid = a.atttypid"
            " where a.attrelid = to_regclass(%s) and a.attname = %s"
            "   and t.typnamespace = 'pg_catalog'::regnamespace",
            [resource.table.sql, column],
        ).fetchone()
        if found is None:
            continue
        try:
            conn.execute(f"select cast(%s as {found[0]})".encode(), [value])
        except pg.DataError:
            part = "" if len(values) == 1 else "a column of "
            raise UsageError(
                f"invalid key {value!r}: {part}the key of {resource.table} is {column}, of type "
                f"{found[0]}",
                "Give the value of that column.",
            ) from None


def _values(resource: Resource, key: str) -> list[str]:
    return [key] if len(resource.key) == 1 else row_keys.parts(key)


def _walk(conn: Connection, mapping: Mapping, resource: Resource, key: list[str]) -> FoundRow:
    listed = ", ".join(
        f"array[{', '.join(f'{quote(column)}::text' for column in columns)}]"
        for columns in resource.parents.values()
    )
    table = resource.table.sql
    # Names quoted by us, types named by the catalogue, the key's values parameters.
    kinds = dict(
        conn.execute(
            "select attname::text, format_type(atttypid, atttypmod) from pg_attribute"
            " where attrelid = %s::regclass and attname = any(%s)",
            [table, [*resource.key]],
        ).fetchall()
    )
    same = " and ".join(f"{quote(c)} = cast(%s as {kinds.get(c, 'text')})" for c in resource.key)
    row = conn.execute(f"select {listed} from {table} where {same}".encode(), key).fetchone()  # noqa: S608 - see above
    if row is None:
        return FoundRow(False)
    for parent, values in zip(resource.parents, row, strict=False):
        if None in values:
            continue
        if parent == COMPANY:
            return FoundRow(True, values[0])
        above = _walk(conn, mapping, mapping.resources[parent], values)
        if above.company is not None:
            return FoundRow(True, above.company)
    return FoundRow(True)
