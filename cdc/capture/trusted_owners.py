"""Whose tables they are. Reading a table, or only planning to, may run code of its owner."""

from __future__ import annotations

from collections.abc import Collection

from cdc.capture.catalog import Connection
from cdc.mapping import Table


def owners_trusted(conn: Connection, tables: Collection[Table]) -> bool:
    """Whether the owners of these tables, and of their partitions, could do all that this account
    may do anyway.

    Planning a query on a table may run code of its owner (in an index, say), with the rights of who
    asks.
    """
    row = conn.execute(
        """
        with recursive tree (oid) as (
          select c.oid
            from unnest(%s::text[], %s::text[]) as named (schema, name)
            join pg_namespace n on n.nspname = named.schema
            join pg_class c on c.relnamespace = n.oid and c.relname = named.name
          union
          select i.inhrelid from tree t join pg_inherits i on i.inhparent = t.oid
        )
        select coalesce(bool_and(c.relowner = me.oid or o.rolsuper
                        or (not me.rolsuper and pg_has_role(me.oid, o.oid, 'usage'))), true)
          from tree
          join pg_class c on c.oid = tree.oid
          join pg_roles o on o.oid = c.relowner
          join pg_roles me on me.rolname = current_user
        """,
        ([table.schema for table in tables], [table.name for table in tables]),
    ).fetchone()
    return bool(row and row[0])


def stranger(
    conn: Connection, read: Collection[Table], captured: Collection[Table]
) -> tuple[Table, str, Table, str] | None:
    """A table that capture would read, and its owner, who may not act as the owner of a captured
    one: that and its owner."""
    row = conn.execute(
        """
        with named as (
          select t.read, c.oid, n.nspname::text as schema, c.relname::text as name, o.oid as owner,
                 o.rolsuper, o.rolname::text
            from (select true, schema, name from unnest(%s::text[], %s::text[]) r (schema, name)
                  union all
                  select false, schema, name from unnest(%s::text[], %s::text[]) c (schema, name)
                 ) t (read, schema, name)
            join pg_namespace n on n.nspname = t.schema
            join pg_class c on c.relnamespace = n.oid and c.relname = t.name
            join pg_roles o on o.oid = c.relowner
        )
        select r.schema, r.name, r.rolname, c.schema, c.name, c.rolname
          from named r, named c
         where r.read and not c.read and not r.rolsuper and r.owner <> c.owner
           and not pg_has_role(r.owner, c.owner, 'usage')
         order by 1, 2, 4, 5 limit 1
        """,
        (
            *([t.schema for t in read], [t.name for t in read]),
            *([t.schema for t in captured], [t.name for t in captured]),
        ),
    ).fetchone()
    if row is None:
        return None
    schema, name, owner, captured_schema, captured_name, writer = row
    return Table(schema, name), owner, Table(captured_schema, captured_name), writer
