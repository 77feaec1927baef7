"""Backfill: the generated function that reads a company's rows, a page at a time.

It walks from the company down: along each way of foreign keys from the company to the resource, in
the order of their keys as text. So what a page costs depends on the company's rows, not on those of
others, and a page begins where the one before ended: its place is the number of the way, and the
key of each row on it. Where several ways lead to a row, it counts on the first.

Loops, because their order and their reading by index are certain. To a query with ORDER BY and
LIMIT the planner may prefer an index of the keys, which is that of all companies' rows; as text
they have none.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import islice

from cdc.capture import changed_mask, company_names
from cdc.capture.catalog import Connection, relation
from cdc.capture.guard import unfiltered
from cdc.capture.parent_lookup import found, tables_read, wants
from cdc.capture.sql_text import equal, indent, key_text, lines, literal, named
from cdc.mapping import JoinPlan, Mapping, Resource, Table
from cdc.mapping.joins import Reference, paths_to_company
from cdc.mapping.model import quote

ARGUMENTS = (
    'company_key text, webhook bigint, wanted "char", since timestamptz, after text[], most int'
)
RETURNS = "table (place text[], layout int, refs text[])"
MOST_WAYS = 32
"""Ways from a company to a resource. Where each table has two parents they double with each."""
INDEXES_NAMED = 5
PAGE_S = 1
"""A page ends after as many seconds, with what was found so far."""

Way = tuple[Reference, ...]


def ways(mapping: Mapping, resource: Resource) -> list[Way]:
    """The foreign keys from the resource's rows up to the company; none where they are too many."""
    found_ways = list(islice(paths_to_company(mapping, resource), MOST_WAYS + 1))
    return found_ways if len(found_ways) <= MOST_WAYS else []


def tables_walked(mapping: Mapping, resource: Resource) -> dict[Table, tuple[str, ...]]:
    """What the function reads beyond what capture does: keys, and the columns that lead on."""
    own = resource.columns
    if resource.changed_at is not None:
        own = (*own, resource.changed_at)
    columns: dict[Table, dict[str, None]] = {resource.table: dict.fromkeys(own)}
    for way in ways(mapping, resource):
        for step in way:
            above = mapping.resources[step.resource]
            of_table = columns.setdefault(above.table, {})
            of_table.update(dict.fromkeys((*above.key, *step.columns)))
    return {table: tuple(of_table) for table, of_table in columns.items()}


def tables_granted(mapping: Mapping) -> dict[Table, tuple[str, ...]]:
    """All that our functions read of the suite's tables."""
    columns = {table: dict.fromkeys(read) for table, read in tables_read(mapping).items()}
    for resource in mapping.captured:
        for table, read in tables_walked(mapping, resource).items():
            columns.setdefault(table, {}).update(dict.fromkeys(read))
    if named := company_names.columns_read(mapping):
        columns.setdefault(mapping.company.table, {}).update(dict.fromkeys(named))
    return {table: tuple(read) for table, read in columns.items()}


def missing_indexes(
    conn: Connection, mapping: Mapping, resource: Resource
) -> list[tuple[Table, tuple[str, ...]]]:
    """Foreign keys on these ways that no index begins with: reading would go through all rows of
    the table, of all companies. Of a table with partitions, those of them that lack one."""
    wanted = dict.fromkeys(
        (mapping.resources[step.resource].table, step.columns)
        for way in ways(mapping, resource)
        for step in way
    )
    names = [(table.schema, table.name, json.dumps(columns)) for table, columns in wanted]
    rows = conn.execute(
        """
        with recursive tree (number, oid, kind, columns) as (
          select w.number, c.oid, c.relkind, array(select jsonb_array_elements_text(w.columns))
            from unnest(%s::text[], %s::text[], %s::jsonb[])
                 with ordinality w (schema, name, columns, number)
            join pg_namespace n on n.nspname = w.schema
            join pg_class c on c.relnamespace = n.oid and c.relname = w.name
          union
          select t.number, c.oid, c.relkind, t.columns
            from tree t join pg_inherits i on i.inhparent = t.oid
            join pg_class c on c.oid = i.inhrelid
        )
        select t.number, n.nspname::text, c.relname::text
          from tree t
          join pg_class c on c.oid = t.oid join pg_namespace n on n.oid = c.relnamespace
         where t.kind = 'r'
           and not exists (
             select from pg_index i
               join pg_class x on x.oid = i.indexrelid join pg_am m on m.oid = x.relam
              cross join lateral (
                select array_agg(a.attname::text) as columns
                  from unnest(i.indkey::smallint[]) with ordinality k (attnum, place)
                  join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
                 where k.place <= least(cardinality(t.columns), i.indnkeyatts)) lead
              where i.indrelid = t.oid and i.indisvalid and i.indpred is null
                and m.amname = 'btree' and lead.columns @> t.columns)
         order by 1, 2, 3
        """,
        [list(column) for column in zip(*names, strict=True)] or [[], [], []],
    ).fetchall()
    columns_of = [columns for _, columns in wanted]
    return [(Table(schema, name), columns_of[n - 1]) for n, schema, name in rows]


def create_index(table: Table, columns: Sequence[str]) -> str:
    """The statement that makes one of them, while the suite works."""
    return f"create index concurrently on {table.sql} ({', '.join(map(quote, columns))})"


def create_indexes(missing: Sequence[tuple[Table, Sequence[str]]]) -> str:
    """Those that make the first of them, and how many more there are."""
    more = f"; and {len(missing) - INDEXES_NAMED} more" if len(missing) > INDEXES_NAMED else ""
    return "; ".join(create_index(*one) for one in missing[:INDEXES_NAMED]) + more


def absent(conn: Connection, mapping: Mapping, resource: Resource) -> list[Table]:
    """Tables that the function would read, and that do not exist."""
    return [one for one in tables_walked(mapping, resource) if relation(conn, one) is None]


def hidden(conn: Connection, mapping: Mapping, resource: Resource) -> list[Table]:
    """Tables of which row-level security may hide rows from the function."""
    relations = [relation(conn, table) for table in tables_walked(mapping, resource)]
    return [one.table for one in relations if one is not None and one.secured]


def body(join_plan: JoinPlan, mapping: Mapping) -> str:
    """Of the function that reads rows of a resource for a backfill."""
    resource = join_plan.resource
    known = ways(mapping, resource)
    if not known:
        return (
            "\nbegin\n  raise feature_not_supported using message =\n"
            f"    'there are more than {MOST_WAYS} ways from a company to {resource.name}';\nend\n"
        )
    company = mapping.company
    keys, key = _numbered("keys", resource.key), _numbered("key", resource.key)
    empty = "".join(
        f"array(select own.{quote(column)} from {resource.table.sql} own where false) as {name},\n"
        f"         "
        for column, name in zip(resource.key, keys, strict=True)
    )
    records = "\n".join(f"  row{n} record;" for n in range(1, max(map(len, known)) + 1))
    walks = "\n".join(_walk(mapping, known, number) for number in range(1, len(known) + 1))
    columns = ", ".join(f"own.{quote(column)}" for column in resource.columns)
    read = found(
        join_plan,
        mapping,
        source="null::bigint",
        rows=f"unnest({', '.join(f'page.{name}' for name in (*keys, 'places'))})"
        f" with ordinality p ({', '.join(key)}, place, number)\n"
        "  left join lateral (\n"
        f"    select {columns} from {resource.table.sql} own\n"
        f"     where {equal(named('own', resource.key), [f'p.{name}' for name in key])} offset 0)"
        " own on true",
        action="",
        anyway="false",
        changed=changed_mask.ALL,
        more=("p.place", "p.number"),
    )
    return f"""
#variable_conflict use_variable
-- Reads rows of {resource.table} that belong to a company, in the order of their places, from
-- the one behind `after` on: references of those that the webhook wants, null for the others. A row
-- without a place is the last of all; one that has nothing else ends a page before it is full.
-- Called by cdc.read_backfill(), for the daemon. Reads by keys, and by indexes of foreign keys.
declare
  of_company {company.table.sql}.{quote(company.key)}%type := company_key;
  began constant timestamptz := clock_timestamp();
  way int := coalesce(after[1]::int, 1);
  page record;  -- the keys found, in their own type, and their places
  number int := 0;  -- of them
  walked boolean := false;
  ended boolean := false;
{records}
begin
{indent(unfiltered("subscription"), 2)}
  select {empty}array[]::text[] as places
    into page;
  <<walk>>
  begin
{walks}
    ended := true;
  end walk;
  return query
  select found.place::text[], {join_plan.layout.id},
         case when wants.webhook_id is not null then found.refs end
    from (
{indent(read, 6)}
    ) found
    left join lateral (
      select s.webhook_id from cdc.subscription s
       where s.company = found.company and s.event = {literal(join_plan.layout.event)}
         and s.webhook_id = webhook and found.company = company_key
         and {wants("s", "wanted", join_plan)}
      offset 0) wants on true
   order by found.number;
  if ended or number < most then
    place := case when not ended then after end;
    layout := null;
    refs := null;
    return next;
  end if;
end
"""


def _walk(mapping: Mapping, known: Sequence[Way], number: int) -> str:
    """Loops, one in another, from the rows just below the company to those of the resource."""
    way = known[number - 1][::-1]
    places = [f"'{number}'"]
    text = [f"if way = {number} then"]
    for depth, step in enumerate(way, 1):
        resource = mapping.resources[step.resource]
        alias = "own" if depth == len(way) else "above"
        key = named(alias, resource.key)
        place = f'{key_text(key)} collate "C"'
        above = ["of_company"]
        if depth > 1:
            of_parent = mapping.resources[way[depth - 2].resource].key
            above = [f"row{depth - 1}.{name}" for name in _numbered("key", of_parent)]
        after = f"after[{depth + 1}]"
        places.append(f"row{depth}.place")
        last = depth == len(way)
        conditions = [
            equal(named(alias, step.columns), above),
            f"({after} is null or {place} {'>' if last else '>='} {after})",
        ]
        if last and resource.changed_at is not None:
            conditions.append(f"(since is null or own.{quote(resource.changed_at)} >= since)")
        if last:  # not what an earlier way has led to
            conditions += [f"{_leads(mapping, way)} is not true" for way in known[: number - 1]]
        both = "\n     and ".join(conditions)
        limit = "\n   limit most - number" if last else ""
        reached = ", ".join(places)
        listed = _numbered("key", resource.key)
        selected = ", ".join(f"{k} as {name}" for k, name in zip(key, listed, strict=True))
        appended = zip(_numbered("keys", resource.key), listed, strict=True)
        then = _entered(depth, after, reached)
        if last:
            then = _found(
                [f"array_append(page.{a}, row{depth}.{k}) as {a}" for a, k in appended], reached
            )
        loop = f"""\
for row{depth} in
  select {selected}, {place} as place
    from {resource.table.sql} {alias}
   where {both}
   order by {len(key) + 1}{limit}
loop
{indent(then, 2)}"""
        text.append(indent(loop, 2 * depth))
    text += [f"{'  ' * depth}end loop;" for depth in range(len(way), 0, -1)]
    text += [f"  way := {number + 1};", f"  after := array['{number + 1}'];", "end if;"]
    return indent("\n".join(text), 4)


def _entered(depth: int, after: str, reached: str) -> str:
    """What is done with a row between company and resource. At least one was walked through before
    a page ends, so the next one gets on."""
    return f"""\
if {after} is distinct from row{depth}.place then
  after := array[{reached}];
  exit walk when walked and clock_timestamp() > began + interval '{PAGE_S} s';
end if;
walked := true;"""


def _found(keys: list[str], reached: str) -> str:
    return f"""\
select {lines(keys, ",", 7)},
       page.places || array[{reached}]::text as places
  into page;
number := number + 1;
exit walk when number >= most;"""


def _leads(mapping: Mapping, way: Way, depth: int = 0) -> str:
    """Whether a row leads to the company on this way: look-ups by key, one in another."""
    alias = f"above{depth}" if depth else "own"
    columns = named(alias, way[depth].columns)
    if depth + 1 == len(way):
        return equal(columns, ["of_company"])
    above, name = mapping.resources[way[depth + 1].resource], f"above{depth + 1}"
    return (
        f"(select {_leads(mapping, way, depth + 1)}\n"
        f"          from {above.table.sql} {name} where {equal(named(name, above.key), columns)})"
    )


def _numbered(name: str, columns: Sequence[str]) -> list[str]:
    """Names for the values of a key of one column, or of several."""
    return [name] if len(columns) == 1 else [f"{name}{n}" for n in range(1, len(columns) + 1)]
