"""How capture stands, for commands that only look: needs no right on the suite's tables."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import psycopg

from cdc.capture import catalog, plan
from cdc.capture.catalog import Relation
from cdc.capture.check import check
from cdc.capture.plan import TableStatus
from cdc.errors import DatabaseError, MappingError
from cdc.mapping import Mapping, Table

Connection = psycopg.Connection[Any]


def version(conn: Connection) -> str | None:
    """The installed version of schema cdc; None where there is none."""
    row = conn.execute("select to_regclass('cdc.schema_version') is not null").fetchone()
    if row is None or not row[0]:
        return None
    row = conn.execute("select max(version_num) from cdc.schema_version").fetchone()
    return row[0] if row else None


def refuse_unless_migrated(conn: Connection) -> None:
    """Raises DatabaseError when schema cdc is not there, or not this program's."""
    from cdc.schema import migrations

    found, head = version(conn), migrations.head()
    if found is None:
        raise DatabaseError(
            "schema cdc is not installed in this database", "Run `cdc migrate` first."
        )
    if found != head:
        raise DatabaseError(
            f"schema cdc has version {found}, this program needs {head}",
            "Run `cdc migrate`."
            if found < head
            else "Use the release that installed it, or a newer one.",
        )


def is_copy(conn: Connection) -> bool:
    """Whether daemons refuse to run here: another database than the one that was installed in."""
    row = conn.execute(
        "select i.system_identifier = c.system_identifier and i.database_oid = d.oid"
        "  from cdc.installation i, pg_control_system() c, pg_database d"
        " where d.datname = current_database()"
    ).fetchone()
    return row is None or not row[0]


def relations(conn: Connection, mapping: Mapping) -> dict[Table, Relation | None]:
    """The mapped tables as the catalogue has them, None for those that are not there."""
    tables = [mapping.company.table, *(r.table for r in mapping.resources.values())]
    return {table: catalog.relation(conn, table) for table in tables}


def standing(
    conn: Connection, mapping: Mapping, found: dict[Table, Relation | None] | None = None
) -> list[TableStatus]:
    """One row a captured table and partition; tables that are not there are reported as missing.

    found: what ``relations`` returned, where that was asked already.
    """
    found = relations(conn, mapping) if found is None else found
    known = {t: r or _nothing(t) for t, r in found.items()}
    return [
        row
        if found.get(row.table, True)
        else replace(row, state="missing", detail="the table does not exist")
        for row in plan.status(conn, mapping, known)
    ]


def misfit(conn: Connection, mapping: Mapping) -> str | None:
    """What of the tables does not fit the mapping any more, as far as the catalogue shows: changes
    end in cdc.unresolved, or are read slowly."""
    try:
        check(conn, mapping, trusting=False)
    except MappingError as error:
        return str(error)
    return None


def _nothing(table: Table) -> Relation:
    return Relation(
        table=table,
        kind="r",
        columns={},
        tree=(table,),
        foreign=(),
        required=frozenset(),
        indexes=(),
        secured=False,
    )
