"""The bodies of the generated functions: how a changed row gets into the queue. Pure.

What they must never do (wait, raise, leave a lock) and why they look as they do is explained in
docs/decisions.md, "The queue is written by the trigger".
"""

from __future__ import annotations

from functools import partial

from cdc.capture import changed_mask, included, single_row, sql_text
from cdc.capture.guard import READ_DONE, READ_LOCK_MS, limited, reserve, unfiltered
from cdc.capture.parent_lookup import BLOCKING_TRIES, found, kept_of, wanted_few, wanted_many
from cdc.capture.sql_text import dollar_quoted, indent, key_text, literal, literals, named, not_null
from cdc.mapping import JoinPlan, Mapping

# Up to this many rows a statement of the suite is served by the plan cached in the session, beyond
# by one made for it.
SMALL_STATEMENT_ROWS = 64

# Rows of larger statements are captured in batches, each kept in memory between reading and
# writing: the first has this many rows, the others as many as make this many deliveries.
FIRST_BATCH = 5_000
BATCH_DELIVERIES = 100_000
WANTED = "wants.webhook_id is not null"


def capture(join_plan: JoinPlan, mapping: Mapping) -> str:
    """Of the trigger function: a statement's new rows into cdc.queue, or into cdc.unresolved."""
    resource = join_plan.resource
    name, table = literal(resource.name), literal(str(resource.table))
    read = partial(found, join_plan, mapping, source="null::bigint")
    kept = ["gone"] if resource.deleted else []
    key_kept = sql_text.key_of_json("row_.kept", resource.key)
    column = ", included" * bool(resource.fields)
    done = "when 'INSERT' then 'c'" + (" when 'DELETE' then 'd'" if resource.deleted else "")
    few = f"""\
select {included.queued(resource, WANTED)},
       array_agg(jsonb_build_array(found.key, found.own)) filter (where found.own is not null)
         as unplaced,
       pg_sequence_last_value('cdc.queue_id'::regclass) as base,
       pg_sequence_last_value('cdc.bell'::regclass) as bell
  into read
  from (
{indent(read(rows=changed_mask.numbered(resource), masks="masks"), 4)}
  ) found
{wanted_few(join_plan, "action")} and found.own is null"""
    batch = changed_mask.numbered(resource, "offset $1 limit $2")
    left = changed_mask.numbered(resource, "offset done limit batch")
    many = f"""
with found as not materialized (  -- read twice: joining is cheaper than keeping what was joined
{indent(read(rows=batch, masks="$4", many=True, action="$3"), 2)}
)
select wanted.*,
       (select array_agg(jsonb_build_array(found.key, found.own))
          from found
         where found.own is not null) as unplaced,
       (select last_value from cdc.queue_id) as base, (select last_value from cdc.bell) as bell
  from (
    select {indent(included.queued(resource), 4).strip()}
      from found
{indent(wanted_many(join_plan, "$3"), 4)} and found.own is null) wanted
"""
    compares = resource.fields is not None
    masks = ""
    if compares:
        masks = """
  changes bigint[];  -- what was changed, of as many rows as cdc/capture/changed_mask.py says
  compared bigint := 0;  -- rows up to the last one of them
  masks bigint[];  -- of them those of the batch; null: all count as changed"""
    compare = f"\n{indent(changed_mask.compare(resource), 6)}" if compares else ""
    forms = kept_forms = kept_done = kept_read = ""
    if column:
        forms = f"\n{indent(included.forms(resource), 6)}"
        kept_forms = f"\n{indent(included.forms(resource), 10)}"
        kept_done = f"\n          raise sqlstate '{READ_DONE}';"
        kept_read = f"\n          when sqlstate '{READ_DONE}' then\n            null;"
    using = "done, batch, action, masks" if compares else "done, batch, action"
    return f"""
#variable_conflict use_variable
-- Queues the changes of {resource.table} for the webhooks that want {resource.event}.
-- Fired after each statement; reads parents, writes cdc.queue, rings the bell if it is armed.
-- Locks until the end of the transaction: ROW EXCLUSIVE on cdc.queue and on the two sequences that
-- are read. Those of reading tables are released at once, and waited for {READ_LOCK_MS} ms at the
-- most, each. Never raises for what rows hold.
declare
  action constant "char" := case tg_op {done} else 'm' end;
  happened constant timestamptz := clock_timestamp();
  -- Nothing of ours is named here: it would be looked up before anything is guarded.
  base bigint;  -- see sql/schema/50_queue.sql
  last_id bigint;
  setting text;{single_row.variables(resource)}
begin{single_row.attempt(join_plan, mapping)}
<<several>>
declare
  problem text;
  read record;
  queued bigint;  -- of them
  unplaced jsonb[];  -- keys, and what to keep
  bell bigint;
  series text;
  rows bigint;
  done bigint := 0;
  batch bigint := {FIRST_BATCH};{masks}
begin
  rows := (select count(*) from (select from new_rows limit {SMALL_STATEMENT_ROWS + 1}) sample);
  if rows = 0 then
    return null;
  elsif rows > {SMALL_STATEMENT_ROWS} then
    rows := (select count(*) from new_rows);
  end if;
  loop
    problem := 'a parent row is not there (yet), or no company was found';
    -- A guarded read: whatever the suite did to its tables, its writers must not fail because of
    -- us. It always ends by raising, which releases its locks; the variables keep what was read.
    begin
{indent(limited("queue", "subscription", *kept), 6)}{forms}{compare}
      -- Of no row: what the insert below would wait for, or fail at, is found out here.
      insert into cdc.queue (id, webhook_id, layout, action, "time", refs, uid{column})
      select 0, 0, 0, action, happened, null, null{", null" * bool(column)} where false;
      if rows <= {SMALL_STATEMENT_ROWS} then
{indent(few, 8)};
      else
        -- Planned afresh for what it meets.
        setting := set_config('enable_seqscan', 'on', true);
        execute {dollar_quoted("many", indent(many, 10) + "        ")}
          into read using {using};
      end if;
      queued := coalesce(cardinality(read.captured), 0);
      unplaced := read.unplaced;
      base := read.base;
      if base is null then  -- never raised
        base := (select last_value from cdc.queue_id);
      end if;
      bell := read.bell;
      last_id := {reserve("nullif(queued, 0)")};
      raise sqlstate '{READ_DONE}';
    exception
      when sqlstate '{READ_DONE}' then
        null;
      when serialization_failure then
        raise;
      when others then
        problem := format('%s (%s)', sqlerrm, sqlstate);
        queued := 0;
        begin{kept_forms}
          select array_agg(jsonb_build_array({key_text(named("own", resource.key))},
                            {kept_of(resource, 28, "masks")}))
            into unplaced
            from {left};{kept_done}
        exception{kept_read}
          when serialization_failure then
            raise;
          when others then
            -- A column of the table's own was renamed.
            begin
              select array_agg(jsonb_build_array({key_kept}, row_.kept))
                into unplaced
                -- With schema and star: a column may have the name of either.
                from (select cdc.kept(pg_catalog.row_to_json(own.*), tg_relid) as kept
                        from (select * from new_rows offset done limit batch) own offset 0) row_;
              raise sqlstate '{READ_DONE}';
            exception
              when sqlstate '{READ_DONE}' then
                null;
              when serialization_failure then
                raise;
              when others then
                unplaced := array[jsonb_build_array(null, '{{}}'::jsonb)];
            end;
        end;
    end;
    -- Written outside the guard: a guarded write would cost a second transaction id.
    if queued > 0 then
      if rows > {SMALL_STATEMENT_ROWS} then
        series := left(gen_random_uuid()::text, 24);
      end if;
      insert into cdc.queue (id, webhook_id, layout, action, "time", refs, uid{column})
      select last_id - queued + c.number, c.webhook_id, {join_plan.layout.id}, action,
             happened, c.refs,
             -- Half of all the time of many would go into random numbers; one and a count will do.
             case when rows <= {SMALL_STATEMENT_ROWS} then gen_random_uuid()
                  else (series || lpad(to_hex(c.number), 12, '0'))::uuid
             end{column}
        from unnest(read.captured{column.replace(" ", " read.")}) with ordinality
             c (source, webhook_id, refs{column}, number);
    end if;
    if unplaced is not null then
      begin
        insert into cdc.unresolved (id, resource, source, key, action, "time", own, reason)
        select 0, '', '', '', action, happened, null, '' where false;
{indent(unfiltered("unresolved"), 8)}
        base := (select last_value from cdc.queue_id);
        bell := (select last_value from cdc.bell);
        last_id := {reserve("cardinality(unplaced)")};
        raise sqlstate '{READ_DONE}';
      exception
        when sqlstate '{READ_DONE}' then
          insert into cdc.unresolved (id, resource, source, key, action, "time", own, reason)
          select last_id - cardinality(unplaced) + u.number, {name}, {table}, u.kept ->> 0, action,
                 happened, u.kept -> 1, problem
            from unnest(unplaced) with ordinality u (kept, number);
        when lock_not_available or deadlock_detected or serialization_failure then
          -- Another session has locked the table whole, and the writer's own limit ends its
          -- waiting: continuing would lose the change.
          raise;
        when others then
          -- A table or a right of ours was taken away.
          raise log 'cdc: % changes of % are lost: % (%)', cardinality(unplaced), {table}, sqlerrm,
            problem;
      end;
    end if;
    if (queued > 0 or unplaced is not null)
       and bell > extract(epoch from happened) * 1000000 then
      perform pg_notify('cdc', '');
    end if;
    done := done + batch;
    exit when done >= rows;
    batch := 1 + {BATCH_DELIVERIES} * batch / greatest(batch, queued);
  end loop;
  return null;
end several;
end
"""


def resolve(join_plan: JoinPlan, mapping: Mapping) -> str:
    """Of the function that captures late what lies in cdc.unresolved."""
    resource = join_plan.resource
    kept = ["gone"] if resource.deleted else []
    lacking = f"table {resource.table} does not exist, or has none of the mapped columns"
    rows = found(
        join_plan,
        mapping,
        source="u.id",
        rows="cdc.unresolved u\n"
        "  cross join lateral jsonb_to_record(cdc.renamed(u.own)) as own (<types>)",
        # At the first try the rest may still be on its way, from another transaction.
        anyway="u.tries > 0",
        action="u.action",
        xid="u.xid",
        more=(
            "u.action",
            "u.tries",
            "u.key as row",
            f"{not_null(named('own', resource.key))} as whole",
        ),
        changed=changed_mask.was_kept(resource, "u.own"),
        known="cdc.renamed(u.own)",
    )
    fields = " f.changed," if resource.fields is not None else ""
    fields += " f.fields, f.vals," if resource.fields else ""
    column, also, declared, forms = "", "", "", ""
    if resource.fields:
        column, also = ", included", ", also"
        declared = "\n  also json[];  -- what is included of them\n  setting text;"
        forms = f"\n{indent(included.forms(resource), 4)}"
    query = f"""
select {included.queued(resource, WANTED)},
       array_agg(distinct found.source) filter (where found.company is not null)
  from (
    select f.source, f.refs, f.action,{fields}
           -- Behind an earlier change of the same row that stays, this one stays, too.
           case when f.whole
                     and bool_and(f.whole and f.company is not null or f.tries >= {BLOCKING_TRIES})
                         over so_far
                     and not exists (
                       select from cdc.unresolved other
                        where other.key = f.row
                          and other.source = {literal(str(resource.table))}
                          and other.tries < {BLOCKING_TRIES}
                          and other.id < f.source and other.id <> all($1))
                then f.company
           end as company
      from (
{indent(rows, 8)}
         where u.id = any($1)
      ) f
    window so_far as (
      partition by f.row, case when f.row is null then f.source end order by f.source)
  ) found
{wanted_few(join_plan, "found.action")}
"""
    before, after = indent(query, 6).split("<types>", 1)
    return f"""
-- Tries again to capture changes of {resource.table} that lie in cdc.unresolved.
-- Called by cdc.resolve(), for the daemon. Returns how many it placed.
declare
  captured cdc.captured[];{declared}
  placed bigint[];
  types text;
  problem text := 'a parent row is not there, or no company was found';
begin
  begin{forms}
{indent(unfiltered("subscription", *kept), 4)}
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
        {literal(lacking)};
    end if;
    execute {dollar_quoted("before", before)} || types || {dollar_quoted("after", after + "    ")}
      into captured{also}, placed using wanted;
  exception
    when serialization_failure then
      raise;
    when others then
      problem := format('%s (%s)', sqlerrm, sqlstate);
      captured := null;
      placed := null;
  end;
  if captured is not null then
    insert into cdc.queue (id, webhook_id, layout, action, "time", refs{column})
    select u.id, c.webhook_id, {join_plan.layout.id}, u.action, u."time", c.refs{column}
      from unnest(captured{also}) c (source, webhook_id, refs{column})
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
