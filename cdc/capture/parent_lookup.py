"""How a changed row's parents are read: the query that capture and resolve share. Pure.

A few rows look their parents up, each by its key. The query's form decides that: a subquery
with an offset can only be planned as a look-up by index, whatever the tables held when the session
made its plan. Written as joins, the plan made for a parent of one row reads the whole parent, and
goes on reading it when it holds a million. Many rows are joined, by a plan made for them alone.
"""

from __future__ import annotations

from collections.abc import Iterable

from cdc.capture import changed_mask, included
from cdc.capture.sql_text import (
    build_object,
    equal,
    json_object,
    key_text,
    lines,
    literal,
    named,
    not_null,
)
from cdc.mapping import JoinPlan, Mapping, Resource, Table, plan_joins
from cdc.mapping.joins import Reference
from cdc.mapping.model import COMPANY, quote

LONGEST_BASE = 2048
"""Characters of a company's own base URL that are taken."""

BLOCKING_TRIES = 10
"""A change in cdc.unresolved holds up later changes of its row for as many tries (some 17 minutes):
one whose company is never found must not stop its row for ever. The index unresolved_row says the
same number."""

# Options of every function of ours. Without the second, a small table's index would not be used.
# JIT: a sequence can only be read by a sequential scan, which is priced so high when those are off
# that PostgreSQL 15 to 17 would compile every statement (19 ms instead of 0.2).
# Row security: where policies apply, a writer's session that has it off would fail.
OPTIONS = (
    "search_path = pg_catalog, pg_temp",
    "enable_seqscan = off",
    "jit = off",
    "row_security = on",
)


def found(
    join_plan: JoinPlan,
    mapping: Mapping,
    *,
    source: str,
    rows: str,
    many: bool = False,
    action: str = "action",
    xid: str = "pg_current_xact_id_if_assigned()",
    anyway: str | None = None,
    more: tuple[str, ...] = (),
    masks: str = "",
    changed: str = "",
    known: str = "",
    plain: bool = False,
) -> str:
    """Selects, of changed rows (alias ``own``), ``source, key, company, refs, own``, and ``more``;
    of a resource that declares fields, their values (as text, and as JSON) and what was changed.

    A row has its place when it has a company and none of its parents' rows is missing; until then
    ``own`` is what to keep of it.
    Of a deleted row, parents that went with it in its transaction are read from cdc.gone.
    many:   whether to join the parents, rather than to look them up one by one.
    action: SQL for what was done to the rows; empty: none of them was deleted.
    xid:    SQL for the transaction that did it.
    anyway: condition under which a company is enough. Then there is no ``own``, and rows that have
            no place have no ``company``.
    masks:  the bits by number of the row, to be kept of one that has no place;
    changed: or the bits themselves.
    known:  of kept rows, what the values as JSON come from (see ``included.values``).
    plain:  whether to select only if a row has its place (``placed``), no ``own``.
    """
    resource = join_plan.resource

    def sql(reference: Reference) -> list[str]:
        return named(_alias(reference.resource, resource), reference.columns)

    # It stands in each of the company's rows and payloads, so a text without end would fill memory.
    base = (
        f"left(company.{quote(join_plan.base)}::text, {LONGEST_BASE})" if join_plan.base else "null"
    )
    first = {name: _first([*map(sql, found)]) for name, found in join_plan.values.items()}
    refs = [base, *map(key_text, first.values())]
    reads = columns_read(mapping, join_plan)
    joins = []
    (company,) = first[COMPANY]
    missing: list[str] = []
    deleted = resource.deleted and action
    for join in join_plan.joins:
        table, join_key = table_of(mapping, join.resource)
        alias = _alias(join.name, resource)
        path = _first([*map(sql, join.paths)])
        live = quote(f"{len(missing)} live") if deleted else alias
        is_it = equal(named(live, join_key), path)
        if many:
            joins.append(f"  left join {table.sql} {live} on {is_it}")
        else:
            columns = ", ".join(f"{live}.{quote(column)}" for column in reads[join.name])
            joins.append(
                f"  left join lateral (\n"
                f"    select {columns}\n"
                f"      from {table.sql} {live}\n"
                f"     where {is_it} offset 0) {live} on true"
            )
        if deleted:
            names = live, quote(f"{len(missing)} gone"), alias
            read = reads[join.name]
            same = key_text(path)
            joins.append(_or_gone(table, read, same, action, xid, names=names, many=many))
        missing.append(f"({not_null(path)} and {alias}.{quote(join_key[0])} is null)")
    # A collation of its own: the company's column may have one that ours cannot meet.
    placed = f'{company}::text collate "C"'
    key = key_text(named("own", resource.key))
    if anyway is not None:
        if missing:
            placed = (
                f"case when {anyway} or not ({lines(missing, ' or', 17)})\n"
                f"            then {placed}\n       end"
            )
        own = ""
    else:
        # A row that may be without a company is left out, unless a parent of it is only late.
        without = [] if resource.optional else [f"{company} is null"]
        waits = [*without, *missing, "earlier.waits"]
        own = f",\n       ({lines(waits, ' or', 8)}) is not true as placed"
        if not plain:
            own = (
                f",\n       case when {lines(waits, ' or', 17)}\n"
                f"            then {kept_of(resource, 17, masks)}\n"
                f"       end as own"
            )
        joins.append(_earlier(resource, key, many))
    extra = "".join(f",\n       {one}" for one in (*more, *asked(resource, masks, changed, known)))
    return "\n".join(
        [
            f"select {source} as source,",
            f"       {key} as key,",
            f"       {placed} as company,",
            f"       array[{lines(refs, ',', 13)}] as refs{own}{extra}",
            f"  from {rows}",
            *joins,
        ]
    )


def _first(references: list[list[str]]) -> list[str]:
    """SQL for the values of the first reference that is there; each has a value for each column of
    a key, and is there if none of them is null."""
    if len(references) == 1:
        return references[0]
    if len(references[0]) == 1:
        return [f"coalesce({', '.join(value for (value,) in references)})"]
    return [
        f"case {' '.join(f'when {not_null(one)} then {one[n]}' for one in references)} end"
        for n in range(len(references[0]))
    ]


def _or_gone(
    table: Table,
    columns: tuple[str, ...],
    key: str,
    action: str,
    xid: str,
    *,
    names: tuple[str, str, str],
    many: bool,
) -> str:
    """A parent as it is or, for a deleted row, as it was when its transaction deleted it last.

    columns: those that are read; the first is one of the key.
    key:     SQL for the key as one text.
    names:   aliases of the parent's row, of what was kept of it, and of the two as one.
    """
    live, gone, either = names
    of = f"g.source = {literal(str(table))}"
    row = f"jsonb_populate_record(null::{table.sql}, g.own) was"
    parts = (f"coalesce({live}.{quote(c)}, {gone}.{quote(c)}) as {quote(c)}" for c in columns)
    if many:
        kept = (
            f"  left join (\n"
            f'    select distinct on (g.key) g.key as "kept key", was.*\n'
            f"      from cdc.gone g, {row}\n"
            f"     where {action} = 'd' and g.xid = {xid} and {of}\n"
            f"     order by g.key, g.id desc) {gone}\n"
            f'    on {gone}."kept key" = {key} collate "C"'
            f" and {live}.{quote(columns[0])} is null"
        )
    else:
        # By the key alone, whose index it takes then: a transaction may have many.
        kept = (
            f"  left join lateral (\n"
            f"    select was.*\n"
            f"      from (select * from cdc.gone g\n"
            f"             where {action} = 'd' and {live}.{quote(columns[0])} is null\n"
            f'               and g.key = {key} collate "C" offset 0) g, {row}\n'
            f"     where g.xid = {xid} and {of}\n"
            f"     order by g.id desc limit 1) {gone} on true"
        )
    return f"{kept}\n  cross join lateral (\n    select {lines(parts, ',', 11)} offset 0) {either}"


def _earlier(resource: Resource, key: str, many: bool) -> str:
    """Whether an earlier change of the same row waits in cdc.unresolved; this one does, then."""
    source, same = literal(str(resource.table)), f'u.key = {key} collate "C"'
    if many:
        return (
            f"  left join (\n"
            f"    select distinct u.key, true as waits from cdc.unresolved u\n"
            f"     where u.source = {source} and u.tries < {BLOCKING_TRIES}) earlier\n"
            f"    on {same.replace('u.', 'earlier.', 1)}"
        )
    return (
        f"  left join lateral (\n"
        f"    select true as waits from cdc.unresolved u\n"
        f"     where {same} and u.source = {source} and u.tries < {BLOCKING_TRIES}\n"
        f"     limit 1 offset 0) earlier on true"
    )


def wanted_few(join_plan: JoinPlan, action: str) -> str:
    """The webhooks that want a few rows of ``found``, none for those without a place.

    action: SQL for what was done to the row.
    """
    return (
        f"  left join lateral (\n"
        f"    select s.webhook_id{', s.include' * bool(join_plan.resource.fields)}\n"
        f"      from cdc.subscription s\n"
        f"     where s.company = found.company and s.event = {literal(join_plan.layout.event)}\n"
        f"       and {wants('s', action, join_plan)}\n"
        f"    offset 0) wants on true"
    )


def wanted_many(join_plan: JoinPlan, action: str) -> str:
    """The same for many rows; those without a webhook are left out."""
    return (
        f"  join cdc.subscription wants\n"
        f"    on wants.company = found.company\n"
        f"   and wants.event = {literal(join_plan.layout.event)}\n"
        f"   and {wants('wants', action, join_plan)}"
    )


def wants(subscription: str, action: str, join_plan: JoinPlan) -> str:
    """Whether a registration wants a change. The first half of each condition decides where it
    wants all, so that costs nothing."""
    resource = join_plan.resource
    every = f"{subscription}.actions is null"
    if resource.deleted:
        every = f"{every} and {action} <> 'd'"
    actions = f"({every} or strpos({subscription}.actions, {action}::text) > 0)"
    if resource.fields is None:
        return actions
    actions = f"{actions}\n       and {changed_mask.wanted(resource, subscription)}"
    if not resource.fields:
        return actions
    return (
        f"{actions}\n"
        f"       and ({subscription}.filter is null or not exists (\n"
        f"         select from jsonb_each({subscription}.filter) f\n"
        f"          where (f.value ? (found.fields ->> f.key)) is not true))"
    )


def kept_of(resource: Resource, column: int, masks: str) -> str:
    """What to keep of a row (alias ``own``) that has no place yet."""
    kept = build_object("own", resource.columns, column)
    if resource.fields is None:
        return kept
    return f"{kept}\n{' ' * column}|| {changed_mask.kept(resource, masks)}"


def asked(resource: Resource, masks: str, changed: str, known: str) -> tuple[str, ...]:
    """What registrations are held against. Values as text: none can make that fail."""
    if resource.fields is None:
        return ()
    mask = changed or f"coalesce({changed_mask.bits(masks)}, {changed_mask.ALL})"
    pairs = [f"{literal(name)}, own.{quote(name)}::text" for name in resource.fields]
    if not pairs:
        return (f"{mask} as changed",)
    values = included.values(resource, known)
    return (f"{mask} as changed", f"{json_object(pairs)} as fields", f"{values} as vals")


def probe(mapping: Mapping, resource: Resource) -> str:
    """The read of a capture function, to be explained before there is one."""
    query = found(
        plan_joins(mapping, resource),
        mapping,
        source="null::bigint",
        rows=changed_mask.numbered(resource),
        masks="(null::bigint[])",
        action="'m'::\"char\"",
    )
    return (
        f"with new_rows as materialized (\n"
        f"  select * from jsonb_populate_record(null::{resource.table.sql}, '{{}}'))\n{query}"
    )


def tables_read(mapping: Mapping) -> dict[Table, tuple[str, ...]]:
    """What capture reads of the suite's tables: the columns that lead from row to company."""
    return tables_read_by(mapping, mapping.captured)


def tables_read_by(mapping: Mapping, resources: Iterable[Resource]) -> dict[Table, tuple[str, ...]]:
    """The same for the functions of these resources alone."""
    columns: dict[Table, dict[str, None]] = {}
    for resource in resources:
        join_plan = plan_joins(mapping, resource)
        for join in join_plan.joins:
            table, _ = table_of(mapping, join.resource)
            of_table = columns.setdefault(table, {})
            of_table.update(dict.fromkeys(columns_read(mapping, join_plan)[join.name]))
    return {table: tuple(of_table) for table, of_table in columns.items()}


def columns_read(mapping: Mapping, join_plan: JoinPlan) -> dict[str, tuple[str, ...]]:
    """Of each joined ancestor: its key, and the columns that lead on from it."""
    read: dict[str, tuple[str, ...]] = {}
    for join in join_plan.joins:
        columns = dict.fromkeys(mapping.key_of(join.resource))
        for found in (*join_plan.values.values(), *(other.paths for other in join_plan.joins)):
            columns.update(
                (c, None) for one in found if one.resource == join.name for c in one.columns
            )
        if join.name == COMPANY and join_plan.base:
            columns[join_plan.base] = None
        read[join.name] = tuple(columns)
    return read


def table_of(mapping: Mapping, name: str) -> tuple[Table, tuple[str, ...]]:
    """Table and key of a parent."""
    parent = mapping.company if name == COMPANY else mapping.resources[name]
    return parent.table, mapping.key_of(name)


def _alias(name: str, resource: Resource) -> str:
    return "own" if name == resource.name else quote(name) if name != COMPANY else "company"
