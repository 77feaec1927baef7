"""What the columns of a key must be: unique, indexed, never null, and named in one order."""

from __future__ import annotations

from collections.abc import Sequence

from cdc.capture.catalog import Connection, Relation
from cdc.errors import MappingError
from cdc.mapping import Mapping, Table
from cdc.mapping.model import COMPANY, quote


def refuse_unindexed(place: str, key: tuple[str, ...], relation: Relation) -> None:
    """Raises MappingError for a parent that the trigger could find only by reading all its table.

    place: of the table in the mapping."""
    if not any({*columns[: len(key)]} == {*key} for columns, _ in relation.indexes):
        named = _listed(key)
        raise MappingError(
            f"{place}.key: no index of {relation.table} begins with {named}, so every "
            "change of a child would read the whole table",
            f"create unique index concurrently on {relation.table.sql} ({named})",
        )
    _refuse_not_unique(place, key, relation)


def refuse_incomplete(place: str, key: tuple[str, ...], relation: Relation) -> None:
    """Raises MappingError for a key of several columns that can be null in one, or equal in two
    rows."""
    if len(key) == 1:
        return
    for column in key:
        if column not in relation.required:
            raise MappingError(
                f"{place}.key: column {quote(column)} of {relation.table} may be null; a key of "
                "several columns needs a value in each",
                f"alter table {relation.table.sql} alter {quote(column)} set not null",
            )
    _refuse_not_unique(place, key, relation)


def _refuse_not_unique(place: str, key: tuple[str, ...], relation: Relation) -> None:
    """Of a partitioned table PostgreSQL may know it only together with the partitions' columns."""
    found = [{*columns} for columns, unique in relation.indexes if unique]
    known = any(columns <= {*key} for columns in found)
    if not known and relation.kind == "p":
        known = len(key) == 1 or any(columns >= {*key} for columns in found)
    if not known:
        raise MappingError(
            f"{place}.key: {_listed(key)} of {relation.table} is not unique",
            "A key identifies one row; give it a unique index.",
        )


def refuse_another_order(conn: Connection, mapping: Mapping) -> None:
    """Raises MappingError for columns of a foreign key that are named in another order than those
    of the key. Where the types are equal, they would lead to the rows of others."""
    for name, resource in mapping.resources.items():
        for parent, columns in resource.parents.items():
            key = mapping.key_of(parent)
            if parent == COMPANY or len(key) == 1:
                continue
            for pairs in _foreign_keys(conn, resource.table, mapping.resources[parent].table):
                right = [own for column in key for own, theirs in pairs if theirs == column]
                if {*right} == {*columns} and len(pairs) == len(key) and right != [*columns]:
                    raise MappingError(
                        f"resources.{name}.parents.{parent}: {_listed(columns)} of "
                        f"{resource.table} are in another order than the key of {parent}, "
                        f"{_listed(key)}: a foreign key says so",
                        f"In the key's order they are {_listed(right)}.",
                    )


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(map(quote, columns))


def _foreign_keys(conn: Connection, child: Table, parent: Table) -> list[list[tuple[str, str]]]:
    """Those from one table to the other: pairs of a column and the one that it refers to."""
    rows = conn.execute(
        """
        select array_agg(array[a.attname::text, r.attname::text] order by u.place)
          from pg_constraint k
          join pg_class c on c.oid = k.conrelid join pg_namespace cn on cn.oid = c.relnamespace
          join pg_class p on p.oid = k.confrelid join pg_namespace pn on pn.oid = p.relnamespace
         cross join lateral unnest(k.conkey, k.confkey) with ordinality u (attnum, refnum, place)
          join pg_attribute a on a.attrelid = k.conrelid and a.attnum = u.attnum
          join pg_attribute r on r.attrelid = k.confrelid and r.attnum = u.refnum
         where k.contype = 'f' and cn.nspname = %s and c.relname = %s
           and pn.nspname = %s and p.relname = %s
         group by k.oid
         order by k.oid
        """,
        (child.schema, child.name, parent.schema, parent.name),
    ).fetchall()
    return [[(own, theirs) for own, theirs in pairs] for (pairs,) in rows]
