"""How a changed row's parents are read: the query that capture and resolve share. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from cdc.capture.text import literal
from cdc.mapping import Mapping, Resource, Roads, Table, roads_of
from cdc.mapping.model import COMPANY, quote
from cdc.mapping.roads import Column

# Options of every function of ours. The planner settings make the cached plan one of index look-ups
# whatever the tables held when the session ran its first statement.
CAREFUL = ("search_path = pg_catalog, pg_temp",)
BY_INDEX = ("enable_seqscan = off", "enable_hashjoin = off", "enable_mergejoin = off")


def found(
    roads: Roads, mapping: Mapping, *, source: str, rows: str, keep_unplaced: bool
) -> str:
    """Selects, of changed rows (alias ``own``), ``source, key, company, refs``.

    keep_unplaced: and ``own``, what to keep of a row whose place is not known yet, else null.
    """
    resource = roads.resource

    def sql(column: Column) -> str:
        return f"{_alias(column.resource, resource)}.{quote(column.column)}"

    def first(columns: tuple[Column, ...]) -> str:
        named = ", ".join(sql(column) for column in columns)
        return named if len(columns) == 1 else f"coalesce({named})"

    base = f"company.{quote(roads.base)}::text" if roads.base else "null"
    refs = [base, *(f"{first(columns)}::text" for columns in roads.values.values())]
    joins = []
    unplaced = [f"{first(roads.values[COMPANY])} is null"]
    for join in roads.joins:
        table, join_key = _table(mapping, join.resource)
        alias = _alias(join.name, resource)
        road = first(join.roads)
        key = f"{alias}.{quote(join_key)}"
        joins.append(f"  left join {table.sql} {alias} on {key} = {road}")
        unplaced.append(f"({road} is not null and {key} is null)")
    own = ""
    if keep_unplaced:
        kept = (f"{literal(column)}, own.{quote(column)}" for column in resource.columns)
        own = (
            f",\n       case when {_lines(unplaced, ' or', 17)}\n"
            f"            then jsonb_build_object({_lines(kept, ',', 36)})\n"
            f"       end as own"
        )
    return "\n".join(
        [
            f"select {source} as source,",
            f"       own.{quote(resource.key)}::text as key,",
            # A collation of its own: the company's column may have one that ours cannot meet.
            f'       {first(roads.values[COMPANY])}::text collate "C" as company,',
            f"       array[{_lines(refs, ',', 13)}] as refs{own}",
            f"  from {rows}",
            *joins,
        ]
    )


def wants(roads: Roads, join: str) -> str:
    """Joins the webhooks that want ``found``."""
    return (
        f"  {join} cdc.subscription wants\n"
        f"    on wants.company = found.company and wants.event = {literal(roads.layout.event)}"
    )


def probe(mapping: Mapping, resource: Resource) -> str:
    """The read of a capture function, to be explained before there is one."""
    query = found(
        roads_of(mapping, resource),
        mapping,
        source="null::bigint",
        rows="new_rows own",
        keep_unplaced=True,
    )
    return (
        f"with new_rows as materialized (\n"
        f"  select * from jsonb_populate_record(null::{resource.table.sql}, '{{}}'))\n{query}"
    )


def tables_read(mapping: Mapping) -> dict[Table, tuple[str, ...]]:
    """What cdc_owner reads of the suite's tables: the columns that lead from row to company."""
    columns: dict[Table, dict[str, None]] = {}
    for resource in mapping.captured:
        roads = roads_of(mapping, resource)
        for join in roads.joins:
            table, key = _table(mapping, join.resource)
            named = columns.setdefault(table, {})
            named[key] = None
            for values in (*roads.values.values(), *(j.roads for j in roads.joins)):
                named.update((c.column, None) for c in values if c.resource == join.name)
            if join.name == COMPANY and roads.base:
                named[roads.base] = None
    return {table: tuple(named) for table, named in columns.items()}


def _table(mapping: Mapping, name: str) -> tuple[Table, str]:
    if name == COMPANY:
        return mapping.company.table, mapping.company.key
    resource = mapping.resources[name]
    return resource.table, resource.key


def _alias(name: str, resource: Resource) -> str:
    return "own" if name == resource.name else quote(name) if name != COMPANY else "company"


def _lines(parts: Iterable[str], between: str, columns: int) -> str:
    return f"{between}\n{' ' * columns}".join(parts)
