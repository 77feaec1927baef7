"""Renders the capture functions and triggers of a mapping as SQL. Pure; reads no database.

The SQL is made to be read by a DBA; what it must never do (wait, raise) and why it looks as it does
is told in ARCHITECTURE.md, "The queue is written by the trigger".
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from textwrap import fill
from typing import Final

from cdc.capture.reading import OPTIONS, found, wanted_few, wanted_many
from cdc.capture.text import build_object, dollar_quoted, indent, literal, literals
from cdc.mapping import Mapping, Resource, Roads, Table, roads_of
from cdc.mapping.model import quote

# Up to this many rows a statement of the suite is served by the plan cached in the session, beyond
# by one made for it.
FEW = 64

# The role the generated functions run as: it can do what capture needs, and nothing else.
RUNS_AS: Final = "cdc_capture"
# Their schema, which that role may not use: what runs as it can neither alter nor give them away.
SCHEMA = "cdc_capture"

TRIGGERS = {"cdc_capture_insert": "insert", "cdc_capture_update": "update"}


# A digest of the body above it tells one that was changed by hand from one of another release.
_SEAL = (
    "-- Rendered by cdc ({}); not to be changed by hand: `cdc triggers install` would undo it.\n"
)

OFF = """
-- Switched off by `cdc triggers off`: changes are not captured, and not made up for.
begin
  return null;
end
"""
"""Body of every capture function while capture is switched off."""


@dataclass(frozen=True, slots=True)
class Function:
    """A rendered function; ``body`` is what the catalogue keeps as prosrc."""

    name: str
    arguments: str
    returns: str
    body: str
    schema: str = SCHEMA

    @property
    def signature(self) -> str:
        return f"{self.schema}.{self.name}({self.arguments})"

    @property
    def sql(self) -> str:
        options = "\n".join(f"set {option}" for option in OPTIONS)
        return (
            f"create or replace function {self.signature} returns {self.returns}\n"
            f"language plpgsql security definer\n{options}\n"
            f"as {dollar_quoted('cdc', self.body)};"
        )

    @property
    def rights(self) -> str:
        """Whoever may execute it could attach it to a table of theirs."""
        text = f"revoke all on function {self.signature} from public;"
        if self.returns != "trigger":
            text += f"\ngrant execute on function {self.signature} to cdc_owner;"  # cdc.resolve()
        return text


def functions(mapping: Mapping, resource: Resource) -> tuple[Function, Function]:
    """The capture and the resolve function of a resource that has an event."""
    roads = roads_of(mapping, resource)
    return _capture(roads, mapping), _resolve(roads, mapping)


def switched_off(name: str, schema: str = SCHEMA) -> Function:
    """A capture function that does nothing: the off switch, which locks no table of the suite.
    schema: cdc, where it is still the first release's."""
    return Function(name, "", "trigger", OFF, schema)


def noted(function: Function, done: str) -> str:
    """Notes with the function that it was switched ``off`` or ``on``, when and by whom: one line in
    its comment, after those that are there."""
    return f"""\
do $note$
begin
  execute format('comment on function %s is %L', '{function.signature}',
    right(concat_ws(E'\\n', obj_description('{function.signature}'::regprocedure, 'pg_proc'),
      format('%s %s by %s', '{done}',
        to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"'),
        session_user)), 4000));
end
$note$;"""


def sealed(body: str) -> str:
    """The body with its seal below."""
    return body + _SEAL.format(sha256(body.encode()).hexdigest()[:16])


def intact(body: str) -> bool:
    """Whether a body is as some release rendered it: its seal fits."""
    lines = body.splitlines(keepends=True)
    return bool(lines) and body == sealed("".join(lines[:-1]))


def trigger(name: str, table: Table, resource: Resource) -> str:
    return (
        f"create or replace trigger {name} after {TRIGGERS[name]} on {table.sql}\n"
        f"  referencing new table as new_rows\n"
        f"  for each statement execute function {SCHEMA}.capture_{resource.name}();"
    )


def drop_trigger(name: str, table: Table) -> str:
    return f"drop trigger if exists {quote(name)} on {table.sql};"


def grant(table: Table, columns: tuple[str, ...]) -> str:
    """Lets the capture functions read these columns and nothing else of a table."""
    named = ", ".join(quote(column) for column in columns)
    return (
        f"grant usage on schema {quote(table.schema)} to {RUNS_AS};\n"
        f"grant select ({named}) on {table.sql} to {RUNS_AS};"
    )


def revoke(table: Table, columns: tuple[str, ...]) -> str:
    named = ", ".join(quote(column) for column in columns)
    return f"revoke select ({named}) on {table.sql} from {RUNS_AS};"


def layouts(mapping: Mapping) -> str:
    rows = []
    for resource in mapping.captured:
        layout = roads_of(mapping, resource).layout
        fields = fill(f"array[{literals(layout.fields)}]", 96, subsequent_indent=" " * 9)
        rows.append(f"  ({layout.id}, {literal(layout.event)},\n   {fields})")
    values = ",\n".join(rows)
    return (
        f"insert into cdc.layout (id, event, fields) values\n{values}\n"
        "on conflict (event, fields) do nothing;"
    )


def _capture(roads: Roads, mapping: Mapping) -> Function:
    resource = roads.resource
    name, table = literal(resource.name), literal(str(resource.table))
    read = partial(found, roads, mapping, source="null::bigint", rows="new_rows own")
    few = f"""\
select array_agg((found.source, wants.webhook_id, found.refs)::cdc.captured)
         filter (where wants.webhook_id is not null),
       array_agg((found.key, found.own)::cdc.unplaced) filter (where found.own is not null)
  into captured, unplaced
  from (
{indent(read(), 4)}
  ) found
{wanted_few(roads)} and found.own is null"""
    many = f"""
with found as not materialized (  -- read twice: joining is cheaper than keeping what was joined
{indent(read(many=True), 2)}
), queued as (
  insert into cdc.queue (webhook_id, layout, action, "time", refs, uid)
  select wants.webhook_id, {roads.layout.id}, $1, $2, found.refs,
         -- Half of all the time would go into random numbers; the statement's own are enough.
         ($4 || lpad(to_hex(row_number() over ()), 12, '0'))::uuid
    from found
{indent(wanted_many(roads), 2)} and found.own is null
  returning 1
), unplaced as (
  insert into cdc.unresolved (resource, source, key, action, "time", own, reason)
  select {name}, {table}, found.key, $1, $2, found.own, $3
    from found
   where found.own is not null
)
select exists (select from queued)
"""
    body = f"""
-- Queues the changes of {resource.table} for the webhooks that want {resource.event}.
-- Fired after each statement; reads parents, writes cdc.queue, rings the bell if it is armed.
-- Takes no lock but those of reading the parents and of inserting. Never raises for what rows hold.
declare
  action constant "char" := case tg_op when 'INSERT' then 'c' else 'm' end;
  happened constant timestamptz := clock_timestamp();
  problem text := 'a parent row is not there (yet), or no company was found';
  captured cdc.captured[];
  unplaced cdc.unplaced[];
  queued boolean := false;
  few int;
begin
  few := (select count(*) from (select from new_rows limit {FEW + 1}) sample);
  if few = 0 then
    return null;
  end if;
  -- A guarded read: whatever the suite did to its tables, its writers must not fail because of us.
  begin
    if few <= {FEW} then
{indent(few, 6)};
    else
      -- Planned afresh for what it meets, and written at once: variables would have to hold it all.
      set local enable_seqscan = on;
      execute {dollar_quoted("many", indent(many, 8) + "      ")}
        into queued using action, happened, problem, left(gen_random_uuid()::text, 24);
    end if;
  exception
    when serialization_failure or deadlock_detected then
      raise;
    when others then
      problem := format('%s (%s)', sqlerrm, sqlstate);
      captured := null;
      unplaced := null;
      queued := false;
      begin
        insert into cdc.unresolved (resource, source, key, action, "time", own, reason)
        select {name}, {table}, row_.key, action, happened, row_.own, problem
          from (select own.{quote(resource.key)}::text as key,
                       {build_object("own", resource.columns, 23)} as own
                  from new_rows own offset 0) row_;
      exception
        when serialization_failure or deadlock_detected then
          raise;
        when others then
          -- A column of the table's own was renamed.
          begin
            insert into cdc.unresolved (resource, source, key, action, "time", own, reason)
            select {name}, {table}, row_.kept ->> {literal(resource.key)}, action, happened,
                   row_.kept, problem
              from (select cdc.kept(one.line, tg_relid) as kept
                      -- With schema and star: a column may have the name of either.
                      from (select pg_catalog.row_to_json(own.*) as line from new_rows own) one
                    offset 0) row_;
          exception
            when serialization_failure or deadlock_detected then
              raise;
            when others then
              unplaced := array[(null, '{{}}')::cdc.unplaced];
          end;
      end;
  end;
  -- Written outside the guard: a guarded write would cost a second transaction id.
  if captured is not null then
    insert into cdc.queue (webhook_id, layout, action, "time", refs)
    select c.webhook_id, {roads.layout.id}, action, happened, c.refs
      from unnest(captured) c;
    queued := true;
  end if;
  if unplaced is not null then
    insert into cdc.unresolved (resource, source, key, action, "time", own, reason)
    select {name}, {table}, u.key, action, happened, u.own, problem
      from unnest(unplaced) u;
  end if;
  if queued and (select last_value from cdc.bell) > extract(epoch from happened) * 1000000 then
    perform pg_notify('cdc', '');
  end if;
  return null;
end
"""
    return Function(f"capture_{resource.name}", "", "trigger", sealed(body))


def _resolve(roads: Roads, mapping: Mapping) -> Function:
    resource = roads.resource
    gone = f"table {resource.table} does not exist, or has none of the mapped columns"
    rows = found(
        roads,
        mapping,
        source="u.id",
        rows="cdc.unresolved u\n"
        "  cross join lateral jsonb_to_record(cdc.renamed(u.own)) as own (<types>)",
        # At COMMIT the rest may still be on its way, from another transaction.
        anyway="u.tries > 0",
    )
    query = f"""
select array_agg((found.source, wants.webhook_id, found.refs)::cdc.captured)
         filter (where wants.webhook_id is not null),
       array_agg(distinct found.source) filter (where found.company is not null)
  from (
{indent(rows, 4)}
     where u.id = any($1) and own.{quote(resource.key)} is not null
  ) found
{wanted_few(roads)}
"""
    before, after = indent(query, 6).split("<types>", 1)
    body = f"""
-- Tries again to capture changes of {resource.table} that lie in cdc.unresolved.
-- Called by cdc.resolve(): at COMMIT of the writer, later by the daemon. Returns how many it
-- placed.
declare
  captured cdc.captured[];
  placed bigint[];
  types text;
  problem text := 'a parent row is not there, or no company was found';
begin
  begin
    -- The columns' types are today's: only the catalogue knows them.
    types := (
      select string_agg(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)), ', ')
        from pg_namespace n
        join pg_class c on c.relnamespace = n.oid
        join pg_attribute a on a.attrelid = c.oid
       where n.nspname = {literal(resource.table.schema)}
         and c.relname = {literal(resource.table.name)}
         and a.attname = any(array[{literals(resource.columns)}]));
    if types is null then
      raise undefined_table using message =
        {literal(gone)};
    end if;
    execute {dollar_quoted("before", before)} || types || {dollar_quoted("after", after + "    ")}
      into captured, placed using wanted;
  exception
    when serialization_failure or deadlock_detected then
      raise;
    when others then
      problem := format('%s (%s)', sqlerrm, sqlstate);
      captured := null;
      placed := null;
  end;
  if captured is not null then
    insert into cdc.queue (id, webhook_id, layout, action, "time", refs)
    select u.id, c.webhook_id, {roads.layout.id}, u.action, u."time", c.refs
      from unnest(captured) c
     -- One by one by index: planned as a join while the table was empty, it would be read whole.
     cross join lateral (select * from cdc.unresolved one where one.id = c.source offset 0) u
     order by u.id;
    if (select last_value from cdc.bell) > extract(epoch from clock_timestamp()) * 1000000 then
      perform pg_notify('cdc', '');
    end if;
  end if;
  delete from cdc.unresolved where id = any(placed);
  update cdc.unresolved
     set tries = tries + 1, reason = problem,
         retry_at = clock_timestamp() + interval '1 second' * least(3600, 2 ^ least(tries, 12))
   where id = any(wanted);
  return coalesce(cardinality(placed), 0);
end
"""
    return Function(f"resolve_{resource.name}", "wanted bigint[]", "bigint", sealed(body))
