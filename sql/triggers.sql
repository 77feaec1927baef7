-- Capture for the mapping interview_suite.toml: what makes the suite's changes reach cdc.queue.
--
--   psql -X -v ON_ERROR_STOP=1 -f triggers.sql "$CDC_DATABASE_URL"
--
-- After schema cdc (`cdc migrate`, or install.sql). Rendered by `cdc triggers sql`, not by hand.
-- Needs: the owner of the suite's tables, member of cdc_owner and cdc_capture.
-- Where the account does not own schema public, PostgreSQL warns: no privileges were granted.
-- That is harmless: every role may use this schema, unless its owner has changed that.
-- Locks: SHARE ROW EXCLUSIVE on one table of the suite at a time, for a moment; its writers wait,
-- readers do not. Where it is busy for longer than lock_timeout, the script stops and is run again.
--
-- `cdc triggers install` does the same and more: it checks the mapping first, skips what is there,
-- tries again where a table is locked, and puts triggers on partitions (unknown to this script).
\set ON_ERROR_STOP on

-- schema cdc
begin;
set local lock_timeout = '500ms';
set local search_path = pg_catalog, pg_temp;
set local quote_all_identifiers = off;
set local standard_conforming_strings = on;
set local default_table_access_method = heap;
set local role cdc_owner;
insert into cdc.layout (id, event, fields) values
  (1688101114, 'project_changed',
   array['base', 'company', 'project']),
  (750384663, 'candidate_changed',
   array['base', 'company', 'project', 'candidate']),
  (2064936391, 'answervideo_changed',
   array['base', 'company', 'project', 'candidate', 'question', 'question.project', 'answervideo']),
  (82425801, 'rating_changed',
   array['base', 'company', 'project', 'candidate', 'rating']),
  (676882923, 'note_changed',
   array['base', 'company', 'project', 'customer', 'answervideo', 'candidate',
         'answervideo.candidate', 'answervideo.candidate.project', 'note'])
on conflict (event, fields) do nothing;
reset role;
commit;

-- public.project
begin;
set local lock_timeout = '500ms';
set local search_path = pg_catalog, pg_temp;
set local quote_all_identifiers = off;
set local standard_conforming_strings = on;
set local default_table_access_method = heap;
grant usage on schema "public" to cdc_capture;
grant select ("id", "company_id") on "public"."project" to cdc_capture;
commit;

-- public.candidate
begin;
set local lock_timeout = '500ms';
set local search_path = pg_catalog, pg_temp;
set local quote_all_identifiers = off;
set local standard_conforming_strings = on;
set local default_table_access_method = heap;
grant usage on schema "public" to cdc_capture;
grant select ("id", "project_id") on "public"."candidate" to cdc_capture;
commit;

-- public.question
begin;
set local lock_timeout = '500ms';
set local search_path = pg_catalog, pg_temp;
set local quote_all_identifiers = off;
set local standard_conforming_strings = on;
set local default_table_access_method = heap;
grant usage on schema "public" to cdc_capture;
grant select ("id", "project_id") on "public"."question" to cdc_capture;
commit;

-- public.customer
begin;
set local lock_timeout = '500ms';
set local search_path = pg_catalog, pg_temp;
set local quote_all_identifiers = off;
set local standard_conforming_strings = on;
set local default_table_access_method = heap;
grant usage on schema "public" to cdc_capture;
grant select ("id", "company_id") on "public"."customer" to cdc_capture;
commit;

-- public.answervideo
begin;
set local lock_timeout = '500ms';
set local search_path = pg_catalog, pg_temp;
set local quote_all_identifiers = off;
set local standard_conforming_strings = on;
set local default_table_access_method = heap;
grant usage on schema "public" to cdc_capture;
grant select ("id", "candidate_id", "question_id") on "public"."answervideo" to cdc_capture;
commit;

-- public.rating
begin;
set local lock_timeout = '500ms';
set local search_path = pg_catalog, pg_temp;
set local quote_all_identifiers = off;
set local standard_conforming_strings = on;
set local default_table_access_method = heap;
grant usage on schema "public" to cdc_capture;
grant select ("id", "candidate_id", "customer_id") on "public"."rating" to cdc_capture;
commit;

-- public.note
begin;
set local lock_timeout = '500ms';
set local search_path = pg_catalog, pg_temp;
set local quote_all_identifiers = off;
set local standard_conforming_strings = on;
set local default_table_access_method = heap;
grant usage on schema "public" to cdc_capture;
grant select ("id", "answervideo_id", "customer_id", "candidate_id") on "public"."note" to cdc_capture;
commit;

-- schema cdc
begin;
set local lock_timeout = '500ms';
set local search_path = pg_catalog, pg_temp;
set local quote_all_identifiers = off;
set local standard_conforming_strings = on;
set local default_table_access_method = heap;
set local role cdc_owner;
grant usage, create on schema cdc_capture to cdc_capture;
set local role cdc_capture;
create or replace function cdc_capture.capture_project() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
set row_security = on
as $cdc$
#variable_conflict use_variable
-- Queues the changes of public.project for the webhooks that want project_changed.
-- Fired after each statement; reads parents, writes cdc.queue, rings the bell if it is armed.
-- Locks until the end of the transaction: ROW EXCLUSIVE on cdc.queue and on the two sequences that
-- are read. Those of reading tables are released at once, and waited for 10 ms at the
-- most, each. Never raises for what rows hold.
declare
  action constant "char" := case tg_op when 'INSERT' then 'c' else 'm' end;
  happened constant timestamptz := clock_timestamp();
  -- Nothing of ours is named here: it would be looked up before anything is guarded.
  base bigint;  -- see sql/schema/50_queue.sql
  last_id bigint;
  setting text;
  hooks bigint[];
  refs text[];
  placed boolean;
  rings boolean;
begin
  -- A single row, as nearly always. Several rows or none, one without a place, and errors: below.
  begin
    if set_config('lock_timeout', '10ms', true) is null
       or row_security_active('cdc.queue'::regclass) or
          row_security_active('cdc.subscription'::regclass) then
      perform cdc.unfiltered('cdc.queue'),
              cdc.unfiltered('cdc.subscription');
    end if;
    insert into cdc.queue (id, webhook_id, layout, action, "time", refs, uid)
    select 0, 0, 0, action, happened, null, null where false;
    -- Strict: several rows raise, too.
    select found.refs,
           found.placed,
           array(
             select s.webhook_id
               from cdc.subscription s
              where s.company = found.company and s.event = 'project_changed'
                and (s.actions is null or strpos(s.actions, action::text) > 0)),
           pg_sequence_last_value('cdc.queue_id'::regclass),
           pg_sequence_last_value('cdc.bell'::regclass)
             > extract(epoch from happened) * 1000000
      into strict refs, placed, hooks, base, rings
      from (
        select null::bigint as source,
               own."id"::text as key,
               own."company_id"::text collate "C" as company,
               array[null,
                     own."company_id"::text,
                     own."id"::text] as refs,
               (own."company_id" is null or
                earlier.waits) is not true as placed
          from new_rows own
          left join lateral (
            select true as waits from cdc.unresolved u
             where u.key = own."id"::text collate "C" and u.source = 'public.project' and u.tries < 10
             limit 1 offset 0) earlier on true
      ) found;
    last_id := base + (pg_logical_emit_message(false, 'cdc', repeat('.', (
      case when placed then nullif(cardinality(hooks), 0) end)::int)) - '0/0'::pg_lsn)::bigint;
    raise sqlstate 'CDC00';
  exception
    when sqlstate 'CDC00' then
      null;
    when serialization_failure then
      raise;
    when others then
      placed := false;
  end;
  if placed and last_id is not null then
    if cardinality(hooks) = 1 then
      insert into cdc.queue (id, webhook_id, layout, action, "time", refs, uid)
      values (last_id - 1, hooks[1], 1688101114, action, happened, refs,
              gen_random_uuid());
    else
      insert into cdc.queue (id, webhook_id, layout, action, "time", refs, uid)
      select last_id - cardinality(hooks) + h.number, h.webhook_id, 1688101114, action,
             happened, refs, gen_random_uuid()
        from unnest(hooks) with ordinality h (webhook_id, number);
    end if;
    if rings then
      perform pg_notify('cdc', '');
    end if;
    return null;
  elsif placed and base is not null then
    return null;  -- no webhook wants it
  end if;
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
  batch bigint := 5000;
begin
  rows := (select count(*) from (select from new_rows limit 65) sample);
  if rows = 0 then
    return null;
  elsif rows > 64 then
    rows := (select count(*) from new_rows);
  end if;
  loop
    problem := 'a parent row is not there (yet), or no company was found';
    -- A guarded read: whatever the suite did to its tables, its writers must not fail because of
    -- us. It always ends by raising, which releases its locks; the variables keep what was read.
    begin
      if set_config('lock_timeout', '10ms', true) is null
         or row_security_active('cdc.queue'::regclass) or
            row_security_active('cdc.subscription'::regclass) then
        perform cdc.unfiltered('cdc.queue'),
                cdc.unfiltered('cdc.subscription');
      end if;
      -- Of no row: what the insert below would wait for, or fail at, is found out here.
      insert into cdc.queue (id, webhook_id, layout, action, "time", refs, uid)
      select 0, 0, 0, action, happened, null, null where false;
      if rows <= 64 then
        select array_agg((found.source, wants.webhook_id, found.refs)::cdc.captured)
                 filter (where wants.webhook_id is not null) as captured,
               array_agg(jsonb_build_array(found.key, found.own)) filter (where found.own is not null)
                 as unplaced,
               pg_sequence_last_value('cdc.queue_id'::regclass) as base,
               pg_sequence_last_value('cdc.bell'::regclass) as bell
          into read
          from (
            select null::bigint as source,
                   own."id"::text as key,
                   own."company_id"::text collate "C" as company,
                   array[null,
                         own."company_id"::text,
                         own."id"::text] as refs,
                   case when own."company_id" is null or
                             earlier.waits
                        then jsonb_build_object('id', own."id",
                                                'company_id', own."company_id")
                   end as own
              from new_rows own
              left join lateral (
                select true as waits from cdc.unresolved u
                 where u.key = own."id"::text collate "C" and u.source = 'public.project' and u.tries < 10
                 limit 1 offset 0) earlier on true
          ) found
          left join lateral (
            select s.webhook_id
              from cdc.subscription s
             where s.company = found.company and s.event = 'project_changed'
               and (s.actions is null or strpos(s.actions, action::text) > 0)
            offset 0) wants on true and found.own is null;
      else
        -- Planned afresh for what it meets.
        setting := set_config('enable_seqscan', 'on', true);
        execute $many$
          with found as not materialized (  -- read twice: joining is cheaper than keeping what was joined
            select null::bigint as source,
                   own."id"::text as key,
                   own."company_id"::text collate "C" as company,
                   array[null,
                         own."company_id"::text,
                         own."id"::text] as refs,
                   case when own."company_id" is null or
                             earlier.waits
                        then jsonb_build_object('id', own."id",
                                                'company_id', own."company_id")
                   end as own
              from (select * from new_rows offset $1 limit $2) own
              left join (
                select distinct u.key, true as waits from cdc.unresolved u
                 where u.source = 'public.project' and u.tries < 10) earlier
                on earlier.key = own."id"::text collate "C"
          )
          select wanted.*,
                 (select array_agg(jsonb_build_array(found.key, found.own))
                    from found
                   where found.own is not null) as unplaced,
                 (select last_value from cdc.queue_id) as base, (select last_value from cdc.bell) as bell
            from (
              select array_agg((found.source, wants.webhook_id, found.refs)::cdc.captured) as captured
                from found
                join cdc.subscription wants
                  on wants.company = found.company
                 and wants.event = 'project_changed'
                 and (wants.actions is null or strpos(wants.actions, $3::text) > 0) and found.own is null) wanted
        $many$
          into read using done, batch, action;
      end if;
      queued := coalesce(cardinality(read.captured), 0);
      unplaced := read.unplaced;
      base := read.base;
      if base is null then  -- never raised
        base := (select last_value from cdc.queue_id);
      end if;
      bell := read.bell;
      last_id := base + (pg_logical_emit_message(false, 'cdc', repeat('.', (nullif(queued, 0))::int)) - '0/0'::pg_lsn)::bigint;
      raise sqlstate 'CDC00';
    exception
      when sqlstate 'CDC00' then
        null;
      when serialization_failure then
        raise;
      when others then
        problem := format('%s (%s)', sqlerrm, sqlstate);
        queued := 0;
        begin
          select array_agg(jsonb_build_array(own."id"::text,
                            jsonb_build_object('id', own."id",
                                               'company_id', own."company_id")))
            into unplaced
            from (select * from new_rows offset done limit batch) own;
        exception
          when serialization_failure then
            raise;
          when others then
            -- A column of the table's own was renamed.
            begin
              select array_agg(jsonb_build_array(row_.kept ->> 'id', row_.kept))
                into unplaced
                -- With schema and star: a column may have the name of either.
                from (select cdc.kept(pg_catalog.row_to_json(own.*), tg_relid) as kept
                        from (select * from new_rows offset done limit batch) own offset 0) row_;
              raise sqlstate 'CDC00';
            exception
              when sqlstate 'CDC00' then
                null;
              when serialization_failure then
                raise;
              when others then
                unplaced := array[jsonb_build_array(null, '{}'::jsonb)];
            end;
        end;
    end;
    -- Written outside the guard: a guarded write would cost a second transaction id.
    if queued > 0 then
      if rows > 64 then
        series := left(gen_random_uuid()::text, 24);
      end if;
      insert into cdc.queue (id, webhook_id, layout, action, "time", refs, uid)
      select last_id - queued + c.number, c.webhook_id, 1688101114, action,
             happened, c.refs,
             -- Half of all the time of many would go into random numbers; one and a count will do.
             case when rows <= 64 then gen_random_uuid()
                  else (series || lpad(to_hex(c.number), 12, '0'))::uuid
             end
        from unnest(read.captured) with ordinality
             c (source, webhook_id, refs, number);
    end if;
    if unplaced is not null then
      begin
        insert into cdc.unresolved (id, resource, source, key, action, "time", own, reason)
        select 0, '', '', '', action, happened, null, '' where false;
        if row_security_active('cdc.unresolved'::regclass) then
          perform cdc.unfiltered('cdc.unresolved');
        end if;
        base := (select last_value from cdc.queue_id);
        bell := (select last_value from cdc.bell);
        last_id := base + (pg_logical_emit_message(false, 'cdc', repeat('.', (cardinality(unplaced))::int)) - '0/0'::pg_lsn)::bigint;
        raise sqlstate 'CDC00';
      exception
        when sqlstate 'CDC00' then
          insert into cdc.unresolved (id, resource, source, key, action, "time", own, reason)
          select last_id - cardinality(unplaced) + u.number, 'project', 'public.project', u.kept ->> 0, action,
                 happened, u.kept -> 1, problem
            from unnest(unplaced) with ordinality u (kept, number);
        when lock_not_available or deadlock_detected or serialization_failure then
          -- Another session has locked the table whole, and the writer's own limit ends its
          -- waiting: continuing would lose the change.
          raise;
        when others then
          -- A table or a right of ours was taken away.
          raise log 'cdc: % changes of % are lost: % (%)', cardinality(unplaced), 'public.project', sqlerrm,
            problem;
      end;
    end if;
    if (queued > 0 or unplaced is not null)
       and bell > extract(epoch from happened) * 1000000 then
      perform pg_notify('cdc', '');
    end if;
    done := done + batch;
    exit when done >= rows;
    batch := 1 + 100000 * batch / greatest(batch, queued);
  end loop;
  return null;
end several;
end
-- Rendered by cdc (d934852f20d1aa89); not to be changed by hand: `cdc triggers install` would undo it.
$cdc$;
revoke all on function cdc_capture.capture_project() from public;
set local role cdc_owner;
revoke usage, create on schema cdc_capture from cdc_capture;
reset role;
set local role cdc_owner;
grant usage, create on schema cdc_capture to cdc_capture;
set local role cdc_capture;
create or replace function cdc_capture.resolve_project(wanted bigint[]) returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
set row_security = on
as $cdc$
-- Tries again to capture changes of public.project that lie in cdc.unresolved.
-- Called by cdc.resolve(), for the daemon. Returns how many it placed.
declare
  captured cdc.captured[];
  placed bigint[];
  types text;
  problem text := 'a parent row is not there, or no company was found';
begin
  begin
    if row_security_active('cdc.subscription'::regclass) then
      perform cdc.unfiltered('cdc.subscription');
    end if;
    -- The columns' types are today's: only the catalogue knows them.
    types := (
      select string_agg(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)), ', ')
        from pg_namespace n
        join pg_class c on c.relnamespace = n.oid
        join pg_attribute a on a.attrelid = c.oid
       where n.nspname = 'public'
         and c.relname = 'project'
         and a.attname = any(array['id', 'company_id']));
    if types is null then
      raise undefined_table using message =
        'table public.project does not exist, or has none of the mapped columns';
    end if;
    execute $before$
      select array_agg((found.source, wants.webhook_id, found.refs)::cdc.captured)
               filter (where wants.webhook_id is not null) as captured,
             array_agg(distinct found.source) filter (where found.company is not null)
        from (
          select f.source, f.refs, f.action,
                 -- Behind an earlier change of the same row that stays, this one stays, too.
                 case when f.whole
                           and bool_and(f.whole and f.company is not null or f.tries >= 10)
                               over so_far
                           and not exists (
                             select from cdc.unresolved other
                              where other.key = f.row
                                and other.source = 'public.project'
                                and other.tries < 10
                                and other.id < f.source and other.id <> all($1))
                      then f.company
                 end as company
            from (
              select u.id as source,
                     own."id"::text as key,
                     own."company_id"::text collate "C" as company,
                     array[null,
                           own."company_id"::text,
                           own."id"::text] as refs,
                     u.action,
                     u.tries,
                     u.key as row,
                     own."id" is not null as whole
                from cdc.unresolved u
                cross join lateral jsonb_to_record(cdc.renamed(u.own)) as own ($before$ || types || $after$)
               where u.id = any($1)
            ) f
          window so_far as (
            partition by f.row, case when f.row is null then f.source end order by f.source)
        ) found
        left join lateral (
          select s.webhook_id
            from cdc.subscription s
           where s.company = found.company and s.event = 'project_changed'
             and (s.actions is null or strpos(s.actions, found.action::text) > 0)
          offset 0) wants on true
    $after$
      into captured, placed using wanted;
  exception
    when serialization_failure then
      raise;
    when others then
      problem := format('%s (%s)', sqlerrm, sqlstate);
      captured := null;
      placed := null;
  end;
  if captured is not null then
    insert into cdc.queue (id, webhook_id, layout, action, "time", refs)
    select u.id, c.webhook_id, 1688101114, u.action, u."time", c.refs
      from unnest(captured) c (source, webhook_id, refs)
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
-- Rendered by cdc (3b1fdfc6612d78a0); not to be changed by hand: `cdc triggers install` would undo it.
$cdc$;
revoke all on function cdc_capture.resolve_project(bigint[]) from public;
grant execute on function cdc_capture.resolve_project(bigint[]) to cdc_owner;
set local role cdc_owner;
revoke usage, create on schema cdc_capture from cdc_capture;
reset role;
set local role cdc_owner;
grant usage, create on schema cdc_capture to cdc_capture;
set local role cdc_capture;
create or replace function cdc_capture.backfill_project(
  company_key text,
  webhook bigint,
  wanted "char",
  since timestamptz,
  after text[],
  most int
) returns table (place text[], layout int, refs text[])
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
set row_security = on
as $cdc$
#variable_conflict use_variable
-- Reads rows of public.project that belong to a company, in the order of their places, from
-- the one behind `after` on: references of those that the webhook wants, null for the others. A row
-- without a place is the last of all; one that has nothing else ends a page before it is full.
-- Called by cdc.read_backfill(), for the daemon. Reads by keys, and by indexes of foreign keys.
declare
  of_company "public"."company"."id"%type := company_key;
  began constant timestamptz := clock_timestamp();
  way int := coalesce(after[1]::int, 1);
  page record;  -- the keys found, in their own type, and their places
  number int := 0;  -- of them
  walked boolean := false;
  ended boolean := false;
  row1 record;
begin
  if row_security_active('cdc.subscription'::regclass) then
    perform cdc.unfiltered('cdc.subscription');
  end if;
  select array(select own."id" from "public"."project" own where false) as keys,
         array[]::text[] as places
    into page;
  <<walk>>
  begin
    if way = 1 then
      for row1 in
        select own."id" as key, own."id"::text collate "C" as place
          from "public"."project" own
         where own."company_id" = of_company
           and (after[2] is null or own."id"::text collate "C" > after[2])
         order by 2
         limit most - number
      loop
        select array_append(page.keys, row1.key) as keys,
               page.places || array['1', row1.place]::text as places
          into page;
        number := number + 1;
        exit walk when number >= most;
      end loop;
      way := 2;
      after := array['2'];
    end if;
    ended := true;
  end walk;
  return query
  select found.place::text[], 1688101114,
         case when wants.webhook_id is not null then found.refs end
    from (
      select null::bigint as source,
             own."id"::text as key,
             own."company_id"::text collate "C" as company,
             array[null,
                   own."company_id"::text,
                   own."id"::text] as refs,
             p.place,
             p.number
        from unnest(page.keys, page.places) with ordinality p (key, place, number)
        left join lateral (
          select own."id", own."company_id" from "public"."project" own
           where own."id" = p.key offset 0) own on true
    ) found
    left join lateral (
      select s.webhook_id from cdc.subscription s
       where s.company = found.company and s.event = 'project_changed'
         and s.webhook_id = webhook and found.company = company_key
         and (s.actions is null or strpos(s.actions, wanted::text) > 0)
      offset 0) wants on true
   order by found.number;
  if ended or number < most then
    place := case when not ended then after end;
    layout := null;
    refs := null;
    return next;
  end if;
end
-- Rendered by cdc (41d18c9613039a95); not to be changed by hand: `cdc triggers install` would undo it.
$cdc$;
revoke all on function cdc_capture.backfill_project(text, bigint, "char", timestamptz, text[], int) from public;
grant execute on function cdc_capture.backfill_project(text, bigint, "char", timestamptz, text[], int) to cdc_owner;
set local role cdc_owner;
revoke usage, create on schema cdc_capture from cdc_capture;
reset role;
set local role cdc_owner;
grant usage, create on schema cdc_capture to cdc_capture;
set local role cdc_capture;
create or replace function cdc_capture.capture_candidate() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
set row_security = on
as $cdc$
#variable_conflict use_variable
-- Queues the changes of public.candidate for the webhooks that want candidate_changed.
-- Fired after each statement; reads parents, writes cdc.queue, rings the bell if it is armed.
-- Locks until the end of the transaction: ROW EXCLUSIVE on cdc.queue and on the two sequences that
-- are read. Those of reading tables are released at once, and waited for 10 ms at the
-- most, each. Never raises for what rows hold.
declare
  action constant "char" := case tg_op when 'INSERT' then 'c' else 'm' end;
  happened constant timestamptz := clock_timestamp();
  -- Nothing of ours is named here: it would be looked up before anything is guarded.
  base bigint;  -- see sql/schema/50_queue.sql
  last_id bigint;
  setting text;
  hooks bigint[];
  refs text[];
  placed boolean;
  rings boolean;
begin
  -- A single row, as nearly always. Several rows or none, one without a place, and errors: below.
  begin
    if set_config('lock_timeout', '10ms', true) is null
       or row_security_active('cdc.queue'::regclass) or
          row_security_active('cdc.subscription'::regclass) then
      perform cdc.unfiltered('cdc.queue'),
              cdc.unfiltered('cdc.subscription');
    end if;
    insert into cdc.queue (id, webhook_id, layout, action, "time", refs, uid)
    select 0, 0, 0, action, happened, null, null where false;
    -- Strict: several rows raise, too.
    select found.refs,
           found.placed,
           array(
             select s.webhook_id
               from cdc.subscription s
              where s.company = found.company and s.event = 'candidate_changed'
                and (s.actions is null or strpos(s.actions, action::text) > 0)),
           pg_sequence_last_value('cdc.queue_id'::regclass),
           pg_sequence_last_value('cdc.bell'::regclass)
             > extract(epoch from happened) * 1000000
      into strict refs, placed, hooks, base, rings
      from (
        select null::bigint as source,
               own."id"::text as key,
               "project"."company_id"::text collate "C" as company,
               array[null,
                     "project"."company_id"::text,
                     own."project_id"::text,
                     own."id"::text] as refs,
               ("project"."company_id" is null or
                (own."project_id" is not null and "project"."id" is null) or
                earlier.waits) is not true as placed
          from new_rows own
          left join lateral (
            select "project"."id", "project"."company_id"
              from "public"."project" "project"
             where "project"."id" = own."project_id" offset 0) "project" on true
          left join lateral (
            select true as waits from cdc.unresolved u
             where u.key = own."id"::text collate "C" and u.source = 'public.candidate' and u.tries < 10
             limit 1 offset 0) earlier on true
      ) found;
    last_id := base + (pg_logical_emit_message(false, 'cdc', repeat('.', (
      case when placed then nullif(cardinality(hooks), 0) end)::int)) - '0/0'::pg_lsn)::bigint;
    raise sqlstate 'CDC00';
  exception
    when sqlstate 'CDC00' then
      null;
    when serialization_failure then
      raise;
    when others then
      placed := false;
  end;
  if placed and last_id is not null then
    if cardinality(hooks) = 1 then
      insert into cdc.queue (id, webhook_id, layout, action, "time", refs, uid)
      values (last_id - 1, hooks[1], 750384663, action, happened, refs,
              gen_random_uuid());
    else
      insert into cdc.queue (id, webhook_id, layout, action, "time", refs, uid)
      select last_id - cardinality(hooks) + h.number, h.webhook_id, 750384663, action,
             happened, refs, gen_random_uuid()
        from unnest(hooks) with ordinality h (webhook_id, number);
    end if;
    if rings then
      perform pg_notify('cdc', '');
    end if;
    return null;
  elsif placed and base is not null then
    return null;  -- no webhook wants it
  end if;
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
  batch bigint := 5000;
begin
  rows := (select count(*) from (select from new_rows limit 65) sample);
  if rows = 0 then
    return null;
  elsif rows > 64 then
    rows := (select count(*) from new_rows);
  end if;
  loop
    problem := 'a parent row is not there (yet), or no company was found';
    -- A guarded read: whatever the suite did to its tables, its writers must not fail because of
    -- us. It always ends by raising, which releases its locks; the variables keep what was read.
    begin
      if set_config('lock_timeout', '10ms', true) is null
         or row_security_active('cdc.queue'::regclass) or
            row_security_active('cdc.subscription'::regclass) then
        perform cdc.unfiltered('cdc.queue'),
                cdc.unfiltered('cdc.subscription');
      end if;
      -- Of no row: what the insert below would wait for, or fail at, is found out here.
      insert into cdc.queue (id, webhook_id, layout, action, "time", refs, uid)
      select 0, 0, 0, action, happened, null, null where false;
      if rows <= 64 then
        select array_agg((found.source, wants.webhook_id, found.refs)::cdc.captured)
                 filter (where wants.webhook_id is not null) as captured,
               array_agg(jsonb_build_array(found.key, found.own)) filter (where found.own is not null)
                 as unplaced,
               pg_sequence_last_value('cdc.queue_id'::regclass) as base,
               pg_sequence_last_value('cdc.bell'::regclass) as bell
          into read
          from (
            select null::bigint as source,
                   own."id"::text as key,
                   "project"."company_id"::text collate "C" as company,
                   array[null,
                         "project"."company_id"::text,
                         own."project_id"::text,
                         own."id"::text] as refs,
                   case when "project"."company_id" is null or
                             (own."project_id" is not null and "project"."id" is null) or
                             earlier.waits
                        then jsonb_build_object('id', own."id",
                                                'project_id', own."project_id")
                   end as own
              from new_rows own
              left join lateral (
                select "project"."id", "project"."company_id"
                  from "public"."project" "project"
                 where "project"."id" = own."project_id" offset 0) "project" on true
              left join lateral (
                select true as waits from cdc.unresolved u
                 where u.key = own."id"::text collate "C" and u.source = 'public.candidate' and u.tries < 10
                 limit 1 offset 0) earlier on true
          ) found
          left join lateral (
            select s.webhook_id
              from cdc.subscription s
             where s.company = found.company and s.event = 'candidate_changed'
               and (s.actions is null or strpos(s.actions, action::text) > 0)
            offset 0) wants on true and found.own is null;
      else
        -- Planned afresh for what it meets.
        setting := set_config('enable_seqscan', 'on', true);
        execute $many$
          with found as not materialized (  -- read twice: joining is cheaper than keeping what was joined
            select null::bigint as source,
                   own."id"::text as key,
                   "project"."company_id"::text collate "C" as company,
                   array[null,
                         "project"."company_id"::text,
                         own."project_id"::text,
                         own."id"::text] as refs,
                   case when "project"."company_id" is null or
                             (own."project_id" is not null and "project"."id" is null) or
                             earlier.waits
                        then jsonb_build_object('id', own."id",
                                                'project_id', own."project_id")
                   end as own
              from (select * from new_rows offset $1 limit $2) own
              left join "public"."project" "project" on "project"."id" = own."project_id"
              left join (
                select distinct u.key, true as waits from cdc.unresolved u
                 where u.source = 'public.candidate' and u.tries < 10) earlier
                on earlier.key = own."id"::text collate "C"
          )
          select wanted.*,
                 (select array_agg(jsonb_build_array(found.key, found.own))
                    from found
                   where found.own is not null) as unplaced,
                 (select last_value from cdc.queue_id) as base, (select last_value from cdc.bell) as bell
            from (
              select array_agg((found.source, wants.webhook_id, found.refs)::cdc.captured) as captured
                from found
                join cdc.subscription wants
                  on wants.company = found.company
                 and wants.event = 'candidate_changed'
                 and (wants.actions is null or strpos(wants.actions, $3::text) > 0) and found.own is null) wanted
        $many$
          into read using done, batch, action;
      end if;
      queued := coalesce(cardinality(read.captured), 0);
      unplaced := read.unplaced;
      base := read.base;
      if base is null then  -- never raised
        base := (select last_value from cdc.queue_id);
      end if;
      bell := read.bell;
      last_id := base + (pg_logical_emit_message(false, 'cdc', repeat('.', (nullif(queued, 0))::int)) - '0/0'::pg_lsn)::bigint;
      raise sqlstate 'CDC00';
    exception
      when sqlstate 'CDC00' then
        null;
      when serialization_failure then
        raise;
      when others then
        problem := format('%s (%s)', sqlerrm, sqlstate);
        queued := 0;
        begin
          select array_agg(jsonb_build_array(own."id"::text,
                            jsonb_build_object('id', own."id",
                                               'project_id', own."project_id")))
            into unplaced
            from (select * from new_rows offset done limit batch) own;
        exception
          when serialization_failure then
            raise;
          when others then
            -- A column of the table's own was renamed.
            begin
              select array_agg(jsonb_build_array(row_.kept ->> 'id', row_.kept))
                into unplaced
                -- With schema and star: a column may have the name of either.
                from (select cdc.kept(pg_catalog.row_to_json(own.*), tg_relid) as kept
                        from (select * from new_rows offset done limit batch) own offset 0) row_;
              raise sqlstate 'CDC00';
            exception
              when sqlstate 'CDC00' then
                null;
              when serialization_failure then
                raise;
              when others then
                unplaced := array[jsonb_build_array(null, '{}'::jsonb)];
            end;
        end;
    end;
    -- Written outside the guard: a guarded write would cost a second transaction id.
    if queued > 0 then
      if rows > 64 then
        series := left(gen_random_uuid()::text, 24);
      end if;
      insert into cdc.queue (id, webhook_id, layout, action, "time", refs, uid)
      select last_id - queued + c.number, c.webhook_id, 750384663, action,
             happened, c.refs,
             -- Half of all the time of many would go into random numbers; one and a count will do.
             case when rows <= 64 then gen_random_uuid()
                  else (series || lpad(to_hex(c.number), 12, '0'))::uuid
             end
        from unnest(read.captured) with ordinality
             c (source, webhook_id, refs, number);
    end if;
    if unplaced is not null then
      begin
        insert into cdc.unresolved (id, resource, source, key, action, "time", own, reason)
        select 0, '', '', '', action, happened, null, '' where false;
        if row_security_active('cdc.unresolved'::regclass) then
          perform cdc.unfiltered('cdc.unresolved');
        end if;
        base := (select last_value from cdc.queue_id);
        bell := (select last_value from cdc.bell);
        last_id := base + (pg_logical_emit_message(false, 'cdc', repeat('.', (cardinality(unplaced))::int)) - '0/0'::pg_lsn)::bigint;
        raise sqlstate 'CDC00';
      exception
        when sqlstate 'CDC00' then
          insert into cdc.unresolved (id, resource, source, key, action, "time", own, reason)
          select last_id - cardinality(unplaced) + u.number, 'candidate', 'public.candidate', u.kept ->> 0, action,
                 happened, u.kept -> 1, problem
            from unnest(unplaced) with ordinality u (kept, number);
        when lock_not_available or deadlock_detected or serialization_failure then
          -- Another session has locked the table whole, and the writer's own limit ends its
          -- waiting: continuing would lose the change.
          raise;
        when others then
          -- A table or a right of ours was taken away.
          raise log 'cdc: % changes of % are lost: % (%)', cardinality(unplaced), 'public.candidate', sqlerrm,
            problem;
      end;
    end if;
    if (queued > 0 or unplaced is not null)
       and bell > extract(epoch from happened) * 1000000 then
      perform pg_notify('cdc', '');
    end if;
    done := done + batch;
    exit when done >= rows;
    batch := 1 + 100000 * batch / greatest(batch, queued);
  end loop;
  return null;
end several;
end
-- Rendered by cdc (59a953f35a909e39); not to be changed by hand: `cdc triggers install` would undo it.
$cdc$;
revoke all on function cdc_capture.capture_candidate() from public;
set local role cdc_owner;
revoke usage, create on schema cdc_capture from cdc_capture;
reset role;
set local role cdc_owner;
grant usage, create on schema cdc_capture to cdc_capture;
set local role cdc_capture;
create or replace function cdc_capture.resolve_candidate(wanted bigint[]) returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
set row_security = on
as $cdc$
-- Tries again to capture changes of public.candidate that lie in cdc.unresolved.
-- Called by cdc.resolve(), for the daemon. Returns how many it placed.
declare
  captured cdc.captured[];
  placed bigint[];
  types text;
  problem text := 'a parent row is not there, or no company was found';
begin
  begin
    if row_security_active('cdc.subscription'::regclass) then
      perform cdc.unfiltered('cdc.subscription');
    end if;
    -- The columns' types are today's: only the catalogue knows them.
    types := (
      select string_agg(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)), ', ')
        from pg_namespace n
        join pg_class c on c.relnamespace = n.oid
        join pg_attribute a on a.attrelid = c.oid
       where n.nspname = 'public'
         and c.relname = 'candidate'
         and a.attname = any(array['id', 'project_id']));
    if types is null then
      raise undefined_table using message =
        'table public.candidate does not exist, or has none of the mapped columns';
    end if;
    execute $before$
      select array_agg((found.source, wants.webhook_id, found.refs)::cdc.captured)
               filter (where wants.webhook_id is not null) as captured,
             array_agg(distinct found.source) filter (where found.company is not null)
        from (
          select f.source, f.refs, f.action,
                 -- Behind an earlier change of the same row that stays, this one stays, too.
                 case when f.whole
                           and bool_and(f.whole and f.company is not null or f.tries >= 10)
                               over so_far
                           and not exists (
                             select from cdc.unresolved other
                              where other.key = f.row
                                and other.source = 'public.candidate'
                                and other.tries < 10
                                and other.id < f.source and other.id <> all($1))
                      then f.company
                 end as company
            from (
              select u.id as source,
                     own."id"::text as key,
                     case when u.tries > 0 or not ((own."project_id" is not null and "project"."id" is null))
                          then "project"."company_id"::text collate "C"
                     end as company,
                     array[null,
                           "project"."company_id"::text,
                           own."project_id"::text,
                           own."id"::text] as refs,
                     u.action,
                     u.tries,
                     u.key as row,
                     own."id" is not null as whole
                from cdc.unresolved u
                cross join lateral jsonb_to_record(cdc.renamed(u.own)) as own ($before$ || types || $after$)
                left join lateral (
                  select "project"."id", "project"."company_id"
                    from "public"."project" "project"
                   where "project"."id" = own."project_id" offset 0) "project" on true
               where u.id = any($1)
            ) f
          window so_far as (
            partition by f.row, case when f.row is null then f.source end order by f.source)
        ) found
        left join lateral (
          select s.webhook_id
            from cdc.subscription s
           where s.company = found.company and s.event = 'candidate_changed'
             and (s.actions is null or strpos(s.actions, found.action::text) > 0)
          offset 0) wants on true
    $after$
      into captured, placed using wanted;
  exception
    when serialization_failure then
      raise;
    when others then
      problem := format('%s (%s)', sqlerrm, sqlstate);
      captured := null;
      placed := null;
  end;
  if captured is not null then
    insert into cdc.queue (id, webhook_id, layout, action, "time", refs)
    select u.id, c.webhook_id, 750384663, u.action, u."time", c.refs
      from unnest(captured) c (source, webhook_id, refs)
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
-- Rendered by cdc (826da36d0bfd598b); not to be changed by hand: `cdc triggers install` would undo it.
$cdc$;
revoke all on function cdc_capture.resolve_candidate(bigint[]) from public;
grant execute on function cdc_capture.resolve_candidate(bigint[]) to cdc_owner;
set local role cdc_owner;
revoke usage, create on schema cdc_capture from cdc_capture;
reset role;
set local role cdc_owner;
grant usage, create on schema cdc_capture to cdc_capture;
set local role cdc_capture;
create or replace function cdc_capture.backfill_candidate(
  company_key text,
  webhook bigint,
  wanted "char",
  since timestamptz,
  after text[],
  most int
) returns table (place text[], layout int, refs text[])
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
set row_security = on
as $cdc$
#variable_conflict use_variable
-- Reads rows of public.candidate that belong to a company, in the order of their places, from
-- the one behind `after` on: references of those that the webhook wants, null for the others. A row
-- without a place is the last of all; one that has nothing else ends a page before it is full.
-- Called by cdc.read_backfill(), for the daemon. Reads by keys, and by indexes of foreign keys.
declare
  of_company "public"."company"."id"%type := company_key;
  began constant timestamptz := clock_timestamp();
  way int := coalesce(after[1]::int, 1);
  page record;  -- the keys found, in their own type, and their places
  number int := 0;  -- of them
  walked boolean := false;
  ended boolean := false;
  row1 record;
  row2 record;
begin
  if row_security_active('cdc.subscription'::regclass) then
    perform cdc.unfiltered('cdc.subscription');
  end if;
  select array(select own."id" from "public"."candidate" own where false) as keys,
         array[]::text[] as places
    into page;
  <<walk>>
  begin
    if way = 1 then
      for row1 in
        select above."id" as key, above."id"::text collate "C" as place
          from "public"."project" above
         where above."company_id" = of_company
           and (after[2] is null or above."id"::text collate "C" >= after[2])
         order by 2
      loop
        if after[2] is distinct from row1.place then
          after := array['1', row1.place];
          exit walk when walked and clock_timestamp() > began + interval '1 s';
        end if;
        walked := true;
        for row2 in
          select own."id" as key, own."id"::text collate "C" as place
            from "public"."candidate" own
           where own."project_id" = row1.key
             and (after[3] is null or own."id"::text collate "C" > after[3])
           order by 2
           limit most - number
        loop
          select array_append(page.keys, row2.key) as keys,
                 page.places || array['1', row1.place, row2.place]::text as places
            into page;
          number := number + 1;
          exit walk when number >= most;
        end loop;
      end loop;
      way := 2;
      after := array['2'];
    end if;
    ended := true;
  end walk;
  return query
  select found.place::text[], 750384663,
         case when wants.webhook_id is not null then found.refs end
    from (
      select null::bigint as source,
             own."id"::text as key,
             case when false or not ((own."project_id" is not null and "project"."id" is null))
                  then "project"."company_id"::text collate "C"
             end as company,
             array[null,
                   "project"."company_id"::text,
                   own."project_id"::text,
                   own."id"::text] as refs,
             p.place,
             p.number
        from unnest(page.keys, page.places) with ordinality p (key, place, number)
        left join lateral (
          select own."id", own."project_id" from "public"."candidate" own
           where own."id" = p.key offset 0) own on true
        left join lateral (
          select "project"."id", "project"."company_id"
            from "public"."project" "project"
           where "project"."id" = own."project_id" offset 0) "project" on true
    ) found
    left join lateral (
      select s.webhook_id from cdc.subscription s
       where s.company = found.company and s.event = 'candidate_changed'
         and s.webhook_id = webhook and found.company = company_key
         and (s.actions is null or strpos(s.actions, wanted::text) > 0)
      offset 0) wants on true
   order by found.number;
  if ended or number < most then
    place := case when not ended then after end;
    layout := null;
    refs := null;
    return next;
  end if;
end
-- Rendered by cdc (a00547eedc8cd867); not to be changed by hand: `cdc triggers install` would undo it.
$cdc$;
revoke all on function cdc_capture.backfill_candidate(text, bigint, "char", timestamptz, text[], int) from public;
grant execute on function cdc_capture.backfill_candidate(text, bigint, "char", timestamptz, text[], int) to cdc_owner;
set local role cdc_owner;
revoke usage, create on schema cdc_capture from cdc_capture;
reset role;
set local role cdc_owner;
grant usage, create on schema cdc_capture to cdc_capture;
set local role cdc_capture;
create or replace function cdc_capture.capture_answervideo() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
set row_security = on
as $cdc$
#variable_conflict use_variable
-- Queues the changes of public.answervideo for the webhooks that want answervideo_changed.
-- Fired after each statement; reads parents, writes cdc.queue, rings the bell if it is armed.
-- Locks until the end of the transaction: ROW EXCLUSIVE on cdc.queue and on the two sequences that
-- are read. Those of reading tables are released at once, and waited for 10 ms at the
-- most, each. Never raises for what rows hold.
declare
  action constant "char" := case tg_op when 'INSERT' then 'c' else 'm' end;
  happened constant timestamptz := clock_timestamp();
  -- Nothing of ours is named here: it would be looked up before anything is guarded.
  base bigint;  -- see sql/schema/50_queue.sql
  last_id bigint;
  setting text;
  hooks bigint[];
  refs text[];
  placed boolean;
  rings boolean;
begin
  -- A single row, as nearly always. Several rows or none, one without a place, and errors: below.
  begin
    if set_config('lock_timeout', '10ms', true) is null
       or row_security_active('cdc.queue'::regclass) or
          row_security_active('cdc.subscription'::regclass) then
      perform cdc.unfiltered('cdc.queue'),
              cdc.unfiltered('cdc.subscription');
    end if;
    insert into cdc.queue (id, webhook_id, layout, action, "time", refs, uid)
    select 0, 0, 0, action, happened, null, null where false;
    -- Strict: several rows raise, too.
    select found.refs,
           found.placed,
           array(
             select s.webhook_id
               from cdc.subscription s
              where s.company = found.company and s.event = 'answervideo_changed'
                and (s.actions is null or strpos(s.actions, action::text) > 0)),
           pg_sequence_last_value('cdc.queue_id'::regclass),
           pg_sequence_last_value('cdc.bell'::regclass)
             > extract(epoch from happened) * 1000000
      into strict refs, placed, hooks, base, rings
      from (
        select null::bigint as source,
               own."id"::text as key,
               "project"."company_id"::text collate "C" as company,
               array[null,
                     "project"."company_id"::text,
                     coalesce("candidate"."project_id", "question"."project_id")::text,
                     own."candidate_id"::text,
                     own."question_id"::text,
                     "question"."project_id"::text,
                     own."id"::text] as refs,
               ("project"."company_id" is null or
                (own."candidate_id" is not null and "candidate"."id" is null) or
                (own."question_id" is not null and "question"."id" is null) or
                (coalesce("candidate"."project_id", "question"."project_id") is not null and "project"."id" is null) or
                earlier.waits) is not true as placed
          from new_rows own
          left join lateral (
            select "candidate"."id", "candidate"."project_id"
              from "public"."candidate" "candidate"
             where "candidate"."id" = own."candidate_id" offset 0) "candidate" on true
          left join lateral (
            select "question"."id", "question"."project_id"
              from "public"."question" "question"
             where "question"."id" = own."question_id" offset 0) "question" on true
          left join lateral (
            select "project"."id", "project"."company_id"
              from "public"."project" "project"
             where "project"."id" = coalesce("candidate"."project_id", "question"."project_id") offset 0) "project" on true
          left join lateral (
            select true as waits from cdc.unresolved u
             where u.key = own."id"::text collate "C" and u.source = 'public.answervideo' and u.tries < 10
             limit 1 offset 0) earlier on true
      ) found;
    last_id := base + (pg_logical_emit_message(false, 'cdc', repeat('.', (
      case when placed then nullif(cardinality(hooks), 0) end)::int)) - '0/0'::pg_lsn)::bigint;
    raise sqlstate 'CDC00';
  exception
    when sqlstate 'CDC00' then
      null;
    when serialization_failure then
      raise;
    when others then
      placed := false;
  end;
  if placed and last_id is not null then
    if cardinality(hooks) = 1 then
      insert into cdc.queue (id, webhook_id, layout, action, "time", refs, uid)
      values (last_id - 1, hooks[1], 2064936391, action, happened, refs,
              gen_random_uuid());
    else
      insert into cdc.queue (id, webhook_id, layout, action, "time", refs, uid)
      select last_id - cardinality(hooks) + h.number, h.webhook_id, 2064936391, action,
             happened, refs, gen_random_uuid()
        from unnest(hooks) with ordinality h (webhook_id, number);
    end if;
    if rings then
      perform pg_notify('cdc', '');
    end if;
    return null;
  elsif placed and base is not null then
    return null;  -- no webhook wants it
  end if;
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
  batch bigint := 5000;
begin
  rows := (select count(*) from (select from new_rows limit 65) sample);
  if rows = 0 then
    return null;
  elsif rows > 64 then
    rows := (select count(*) from new_rows);
  end if;
  loop
    problem := 'a parent row is not there (yet), or no company was found';
    -- A guarded read: whatever the suite did to its tables, its writers must not fail because of
    -- us. It always ends by raising, which releases its locks; the variables keep what was read.
    begin
      if set_config('lock_timeout', '10ms', true) is null
         or row_security_active('cdc.queue'::regclass) or
            row_security_active('cdc.subscription'::regclass) then
        perform cdc.unfiltered('cdc.queue'),
                cdc.unfiltered('cdc.subscription');
      end if;
      -- Of no row: what the insert below would wait for, or fail at, is found out here.
      insert into cdc.queue (id, webhook_id, layout, action, "time", refs, uid)
      select 0, 0, 0, action, happened, null, null where false;
      if rows <= 64 then
        select array_agg((found.source, wants.webhook_id, found.refs)::cdc.captured)
                 filter (where wants.webhook_id is not null) as captured,
               array_agg(jsonb_build_array(found.key, found.own)) filter (where found.own is not null)
                 as unplaced,
               pg_sequence_last_value('cdc.queue_id'::regclass) as base,
               pg_sequence_last_value('cdc.bell'::regclass) as bell
          into read
          from (
            select null::bigint as source,
                   own."id"::text as key,
                   "project"."company_id"::text collate "C" as company,
                   array[null,
                         "project"."company_id"::text,
                         coalesce("candidate"."project_id", "question"."project_id")::text,
                         own."candidate_id"::text,
                         own."question_id"::text,
                         "question"."project_id"::text,
                         own."id"::text] as refs,
                   case when "project"."company_id" is null or
                             (own."candidate_id" is not null and "candidate"."id" is null) or
                             (own."question_id" is not null and "question"."id" is null) or
                             (coalesce("candidate"."project_id", "question"."project_id") is not null and "project"."id" is null) or
                             earlier.waits
                        then jsonb_build_object('id', own."id",
                                                'candidate_id', own."candidate_id",
                                                'question_id', own."question_id")
                   end as own
              from new_rows own
              left join lateral (
                select "candidate"."id", "candidate"."project_id"
                  from "public"."candidate" "candidate"
                 where "candidate"."id" = own."candidate_id" offset 0) "candidate" on true
              left join lateral (
                select "question"."id", "question"."project_id"
                  from "public"."question" "question"
                 where "question"."id" = own."question_id" offset 0) "question" on true
              left join lateral (
                select "project"."id", "project"."company_id"
                  from "public"."project" "project"
                 where "project"."id" = coalesce("candidate"."project_id", "question"."project_id") offset 0) "project" on true
              left join lateral (
                select true as waits from cdc.unresolved u
                 where u.key = own."id"::text collate "C" and u.source = 'public.answervideo' and u.tries < 10
                 limit 1 offset 0) earlier on true
          ) found
          left join lateral (
            select s.webhook_id
              from cdc.subscription s
             where s.company = found.company and s.event = 'answervideo_changed'
               and (s.actions is null or strpos(s.actions, action::text) > 0)
            offset 0) wants on true and found.own is null;
      else
        -- Planned afresh for what it meets.
        setting := set_config('enable_seqscan', 'on', true);
        execute $many$
          with found as not materialized (  -- read twice: joining is cheaper than keeping what was joined
            select null::bigint as source,
                   own."id"::text as key,
                   "project"."company_id"::text collate "C" as company,
                   array[null,
                         "project"."company_id"::text,
                         coalesce("candidate"."project_id", "question"."project_id")::text,
                         own."candidate_id"::text,
                         own."question_id"::text,
                         "question"."project_id"::text,
                         own."id"::text] as refs,
                   case when "project"."company_id" is null or
                             (own."candidate_id" is not null and "candidate"."id" is null) or
                             (own."question_id" is not null and "question"."id" is null) or
                             (coalesce("candidate"."project_id", "question"."project_id") is not null and "project"."id" is null) or
                             earlier.waits
                        then jsonb_build_object('id', own."id",
                                                'candidate_id', own."candidate_id",
                                                'question_id', own."question_id")
                   end as own
              from (select * from new_rows offset $1 limit $2) own
              left join "public"."candidate" "candidate" on "candidate"."id" = own."candidate_id"
              left join "public"."question" "question" on "question"."id" = own."question_id"
              left join "public"."project" "project" on "project"."id" = coalesce("candidate"."project_id", "question"."project_id")
              left join (
                select distinct u.key, true as waits from cdc.unresolved u
                 where u.source = 'public.answervideo' and u.tries < 10) earlier
                on earlier.key = own."id"::text collate "C"
          )
          select wanted.*,
                 (select array_agg(jsonb_build_array(found.key, found.own))
                    from found
                   where found.own is not null) as unplaced,
                 (select last_value from cdc.queue_id) as base, (select last_value from cdc.bell) as bell
            from (
              select array_agg((found.source, wants.webhook_id, found.refs)::cdc.captured) as captured
                from found
                join cdc.subscription wants
                  on wants.company = found.company
                 and wants.event = 'answervideo_changed'
                 and (wants.actions is null or strpos(wants.actions, $3::text) > 0) and found.own is null) wanted
        $many$
          into read using done, batch, action;
      end if;
      queued := coalesce(cardinality(read.captured), 0);
      unplaced := read.unplaced;
      base := read.base;
      if base is null then  -- never raised
        base := (select last_value from cdc.queue_id);
      end if;
      bell := read.bell;
      last_id := base + (pg_logical_emit_message(false, 'cdc', repeat('.', (nullif(queued, 0))::int)) - '0/0'::pg_lsn)::bigint;
      raise sqlstate 'CDC00';
    exception
      when sqlstate 'CDC00' then
        null;
      when serialization_failure then
        raise;
      when others then
        problem := format('%s (%s)', sqlerrm, sqlstate);
        queued := 0;
        begin
          select array_agg(jsonb_build_array(own."id"::text,
                            jsonb_build_object('id', own."id",
                                               'candidate_id', own."candidate_id",
                                               'question_id', own."question_id")))
            into unplaced
            from (select * from new_rows offset done limit batch) own;
        exception
          when serialization_failure then
            raise;
          when others then
            -- A column of the table's own was renamed.
            begin
              select array_agg(jsonb_build_array(row_.kept ->> 'id', row_.kept))
                into unplaced
                -- With schema and star: a column may have the name of either.
                from (select cdc.kept(pg_catalog.row_to_json(own.*), tg_relid) as kept
                        from (select * from new_rows offset done limit batch) own offset 0) row_;
              raise sqlstate 'CDC00';
            exception
              when sqlstate 'CDC00' then
                null;
              when serialization_failure then
                raise;
              when others then
                unplaced := array[jsonb_build_array(null, '{}'::jsonb)];
            end;
        end;
    end;
    -- Written outside the guard: a guarded write would cost a second transaction id.
    if queued > 0 then
      if rows > 64 then
        series := left(gen_random_uuid()::text, 24);
      end if;
      insert into cdc.queue (id, webhook_id, layout, action, "time", refs, uid)
      select last_id - queued + c.number, c.webhook_id, 2064936391, action,
             happened, c.refs,
             -- Half of all the time of many would go into random numbers; one and a count will do.
             case when rows <= 64 then gen_random_uuid()
                  else (series || lpad(to_hex(c.number), 12, '0'))::uuid
             end
        from unnest(read.captured) with ordinality
             c (source, webhook_id, refs, number);
    end if;
    if unplaced is not null then
      begin
        insert into cdc.unresolved (id, resource, source, key, action, "time", own, reason)
        select 0, '', '', '', action, happened, null, '' where false;
        if row_security_active('cdc.unresolved'::regclass) then
          perform cdc.unfiltered('cdc.unresolved');
        end if;
        base := (select last_value from cdc.queue_id);
        bell := (select last_value from cdc.bell);
        last_id := base + (pg_logical_emit_message(false, 'cdc', repeat('.', (cardinality(unplaced))::int)) - '0/0'::pg_lsn)::bigint;
        raise sqlstate 'CDC00';
      exception
        when sqlstate 'CDC00' then
          insert into cdc.unresolved (id, resource, source, key, action, "time", own, reason)
          select last_id - cardinality(unplaced) + u.number, 'answervideo', 'public.answervideo', u.kept ->> 0, action,
                 happened, u.kept -> 1, problem
            from unnest(unplaced) with ordinality u (kept, number);
        when lock_not_available or deadlock_detected or serialization_failure then
          -- Another session has locked the table whole, and the writer's own limit ends its
          -- waiting: continuing would lose the change.
          raise;
        when others then
          -- A table or a right of ours was taken away.
          raise log 'cdc: % changes of % are lost: % (%)', cardinality(unplaced), 'public.answervideo', sqlerrm,
            problem;
      end;
    end if;
    if (queued > 0 or unplaced is not null)
       and bell > extract(epoch from happened) * 1000000 then
      perform pg_notify('cdc', '');
    end if;
    done := done + batch;
    exit when done >= rows;
    batch := 1 + 100000 * batch / greatest(batch, queued);
  end loop;
  return null;
end several;
end
-- Rendered by cdc (12e3b5cbaf900658); not to be changed by hand: `cdc triggers install` would undo it.
$cdc$;
revoke all on function cdc_capture.capture_answervideo() from public;
set local role cdc_owner;
revoke usage, create on schema cdc_capture from cdc_capture;
reset role;
set local role cdc_owner;
grant usage, create on schema cdc_capture to cdc_capture;
set local role cdc_capture;
create or replace function cdc_capture.resolve_answervideo(wanted bigint[]) returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
set row_security = on
as $cdc$
-- Tries again to capture changes of public.answervideo that lie in cdc.unresolved.
-- Called by cdc.resolve(), for the daemon. Returns how many it placed.
declare
  captured cdc.captured[];
  placed bigint[];
  types text;
  problem text := 'a parent row is not there, or no company was found';
begin
  begin
    if row_security_active('cdc.subscription'::regclass) then
      perform cdc.unfiltered('cdc.subscription');
    end if;
    -- The columns' types are today's: only the catalogue knows them.
    types := (
      select string_agg(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)), ', ')
        from pg_namespace n
        join pg_class c on c.relnamespace = n.oid
        join pg_attribute a on a.attrelid = c.oid
       where n.nspname = 'public'
         and c.relname = 'answervideo'
         and a.attname = any(array['id', 'candidate_id', 'question_id']));
    if types is null then
      raise undefined_table using message =
        'table public.answervideo does not exist, or has none of the mapped columns';
    end if;
    execute $before$
      select array_agg((found.source, wants.webhook_id, found.refs)::cdc.captured)
               filter (where wants.webhook_id is not null) as captured,
             array_agg(distinct found.source) filter (where found.company is not null)
        from (
          select f.source, f.refs, f.action,
                 -- Behind an earlier change of the same row that stays, this one stays, too.
                 case when f.whole
                           and bool_and(f.whole and f.company is not null or f.tries >= 10)
                               over so_far
                           and not exists (
                             select from cdc.unresolved other
                              where other.key = f.row
                                and other.source = 'public.answervideo'
                                and other.tries < 10
                                and other.id < f.source and other.id <> all($1))
                      then f.company
                 end as company
            from (
              select u.id as source,
                     own."id"::text as key,
                     case when u.tries > 0 or not ((own."candidate_id" is not null and "candidate"."id" is null) or
                               (own."question_id" is not null and "question"."id" is null) or
                               (coalesce("candidate"."project_id", "question"."project_id") is not null and "project"."id" is null))
                          then "project"."company_id"::text collate "C"
                     end as company,
                     array[null,
                           "project"."company_id"::text,
                           coalesce("candidate"."project_id", "question"."project_id")::text,
                           own."candidate_id"::text,
                           own."question_id"::text,
                           "question"."project_id"::text,
                           own."id"::text] as refs,
                     u.action,
                     u.tries,
                     u.key as row,
                     own."id" is not null as whole
                from cdc.unresolved u
                cross join lateral jsonb_to_record(cdc.renamed(u.own)) as own ($before$ || types || $after$)
                left join lateral (
                  select "candidate"."id", "candidate"."project_id"
                    from "public"."candidate" "candidate"
                   where "candidate"."id" = own."candidate_id" offset 0) "candidate" on true
                left join lateral (
                  select "question"."id", "question"."project_id"
                    from "public"."question" "question"
                   where "question"."id" = own."question_id" offset 0) "question" on true
                left join lateral (
                  select "project"."id", "project"."company_id"
                    from "public"."project" "project"
                   where "project"."id" = coalesce("candidate"."project_id", "question"."project_id") offset 0) "project" on true
               where u.id = any($1)
            ) f
          window so_far as (
            partition by f.row, case when f.row is null then f.source end order by f.source)
        ) found
        left join lateral (
          select s.webhook_id
            from cdc.subscription s
           where s.company = found.company and s.event = 'answervideo_changed'
             and (s.actions is null or strpos(s.actions, found.action::text) > 0)
          offset 0) wants on true
    $after$
      into captured, placed using wanted;
  exception
    when serialization_failure then
      raise;
    when others then
      problem := format('%s (%s)', sqlerrm, sqlstate);
      captured := null;
      placed := null;
  end;
  if captured is not null then
    insert into cdc.queue (id, webhook_id, layout, action, "time", refs)
    select u.id, c.webhook_id, 2064936391, u.action, u."time", c.refs
      from unnest(captured) c (source, webhook_id, refs)
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
-- Rendered by cdc (295d6a482aef7590); not to be changed by hand: `cdc triggers install` would undo it.
$cdc$;
revoke all on function cdc_capture.resolve_answervideo(bigint[]) from public;
grant execute on function cdc_capture.resolve_answervideo(bigint[]) to cdc_owner;
set local role cdc_owner;
revoke usage, create on schema cdc_capture from cdc_capture;
reset role;
set local role cdc_owner;
grant usage, create on schema cdc_capture to cdc_capture;
set local role cdc_capture;
create or replace function cdc_capture.backfill_answervideo(
  company_key text,
  webhook bigint,
  wanted "char",
  since timestamptz,
  after text[],
  most int
) returns table (place text[], layout int, refs text[])
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
set row_security = on
as $cdc$
#variable_conflict use_variable
-- Reads rows of public.answervideo that belong to a company, in the order of their places, from
-- the one behind `after` on: references of those that the webhook wants, null for the others. A row
-- without a place is the last of all; one that has nothing else ends a page before it is full.
-- Called by cdc.read_backfill(), for the daemon. Reads by keys, and by indexes of foreign keys.
declare
  of_company "public"."company"."id"%type := company_key;
  began constant timestamptz := clock_timestamp();
  way int := coalesce(after[1]::int, 1);
  page record;  -- the keys found, in their own type, and their places
  number int := 0;  -- of them
  walked boolean := false;
  ended boolean := false;
  row1 record;
  row2 record;
  row3 record;
begin
  if row_security_active('cdc.subscription'::regclass) then
    perform cdc.unfiltered('cdc.subscription');
  end if;
  select array(select own."id" from "public"."answervideo" own where false) as keys,
         array[]::text[] as places
    into page;
  <<walk>>
  begin
    if way = 1 then
      for row1 in
        select above."id" as key, above."id"::text collate "C" as place
          from "public"."project" above
         where above."company_id" = of_company
           and (after[2] is null or above."id"::text collate "C" >= after[2])
         order by 2
      loop
        if after[2] is distinct from row1.place then
          after := array['1', row1.place];
          exit walk when walked and clock_timestamp() > began + interval '1 s';
        end if;
        walked := true;
        for row2 in
          select above."id" as key, above."id"::text collate "C" as place
            from "public"."candidate" above
           where above."project_id" = row1.key
             and (after[3] is null or above."id"::text collate "C" >= after[3])
           order by 2
        loop
          if after[3] is distinct from row2.place then
            after := array['1', row1.place, row2.place];
            exit walk when walked and clock_timestamp() > began + interval '1 s';
          end if;
          walked := true;
          for row3 in
            select own."id" as key, own."id"::text collate "C" as place
              from "public"."answervideo" own
             where own."candidate_id" = row2.key
               and (after[4] is null or own."id"::text collate "C" > after[4])
             order by 2
             limit most - number
          loop
            select array_append(page.keys, row3.key) as keys,
                   page.places || array['1', row1.place, row2.place, row3.place]::text as places
              into page;
            number := number + 1;
            exit walk when number >= most;
          end loop;
        end loop;
      end loop;
      way := 2;
      after := array['2'];
    end if;
    if way = 2 then
      for row1 in
        select above."id" as key, above."id"::text collate "C" as place
          from "public"."project" above
         where above."company_id" = of_company
           and (after[2] is null or above."id"::text collate "C" >= after[2])
         order by 2
      loop
        if after[2] is distinct from row1.place then
          after := array['2', row1.place];
          exit walk when walked and clock_timestamp() > began + interval '1 s';
        end if;
        walked := true;
        for row2 in
          select above."id" as key, above."id"::text collate "C" as place
            from "public"."question" above
           where above."project_id" = row1.key
             and (after[3] is null or above."id"::text collate "C" >= after[3])
           order by 2
        loop
          if after[3] is distinct from row2.place then
            after := array['2', row1.place, row2.place];
            exit walk when walked and clock_timestamp() > began + interval '1 s';
          end if;
          walked := true;
          for row3 in
            select own."id" as key, own."id"::text collate "C" as place
              from "public"."answervideo" own
             where own."question_id" = row2.key
               and (after[4] is null or own."id"::text collate "C" > after[4])
               and (select (select above2."company_id" = of_company
                    from "public"."project" above2 where above2."id" = above1."project_id")
                    from "public"."candidate" above1 where above1."id" = own."candidate_id") is not true
             order by 2
             limit most - number
          loop
            select array_append(page.keys, row3.key) as keys,
                   page.places || array['2', row1.place, row2.place, row3.place]::text as places
              into page;
            number := number + 1;
            exit walk when number >= most;
          end loop;
        end loop;
      end loop;
      way := 3;
      after := array['3'];
    end if;
    ended := true;
  end walk;
  return query
  select found.place::text[], 2064936391,
         case when wants.webhook_id is not null then found.refs end
    from (
      select null::bigint as source,
             own."id"::text as key,
             case when false or not ((own."candidate_id" is not null and "candidate"."id" is null) or
                       (own."question_id" is not null and "question"."id" is null) or
                       (coalesce("candidate"."project_id", "question"."project_id") is not null and "project"."id" is null))
                  then "project"."company_id"::text collate "C"
             end as company,
             array[null,
                   "project"."company_id"::text,
                   coalesce("candidate"."project_id", "question"."project_id")::text,
                   own."candidate_id"::text,
                   own."question_id"::text,
                   "question"."project_id"::text,
                   own."id"::text] as refs,
             p.place,
             p.number
        from unnest(page.keys, page.places) with ordinality p (key, place, number)
        left join lateral (
          select own."id", own."candidate_id", own."question_id" from "public"."answervideo" own
           where own."id" = p.key offset 0) own on true
        left join lateral (
          select "candidate"."id", "candidate"."project_id"
            from "public"."candidate" "candidate"
           where "candidate"."id" = own."candidate_id" offset 0) "candidate" on true
        left join lateral (
          select "question"."id", "question"."project_id"
            from "public"."question" "question"
           where "question"."id" = own."question_id" offset 0) "question" on true
        left join lateral (
          select "project"."id", "project"."company_id"
            from "public"."project" "project"
           where "project"."id" = coalesce("candidate"."project_id", "question"."project_id") offset 0) "project" on true
    ) found
    left join lateral (
      select s.webhook_id from cdc.subscription s
       where s.company = found.company and s.event = 'answervideo_changed'
         and s.webhook_id = webhook and found.company = company_key
         and (s.actions is null or strpos(s.actions, wanted::text) > 0)
      offset 0) wants on true
   order by found.number;
  if ended or number < most then
    place := case when not ended then after end;
    layout := null;
    refs := null;
    return next;
  end if;
end
-- Rendered by cdc (d50c347bbac2245d); not to be changed by hand: `cdc triggers install` would undo it.
$cdc$;
revoke all on function cdc_capture.backfill_answervideo(text, bigint, "char", timestamptz, text[], int) from public;
grant execute on function cdc_capture.backfill_answervideo(text, bigint, "char", timestamptz, text[], int) to cdc_owner;
set local role cdc_owner;
revoke usage, create on schema cdc_capture from cdc_capture;
reset role;
set local role cdc_owner;
grant usage, create on schema cdc_capture to cdc_capture;
set local role cdc_capture;
create or replace function cdc_capture.capture_rating() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
set row_security = on
as $cdc$
#variable_conflict use_variable
-- Queues the changes of public.rating for the webhooks that want rating_changed.
-- Fired after each statement; reads parents, writes cdc.queue, rings the bell if it is armed.
-- Locks until the end of the transaction: ROW EXCLUSIVE on cdc.queue and on the two sequences that
-- are read. Those of reading tables are released at once, and waited for 10 ms at the
-- most, each. Never raises for what rows hold.
declare
  action constant "char" := case tg_op when 'INSERT' then 'c' else 'm' end;
  happened constant timestamptz := clock_timestamp();
  -- Nothing of ours is named here: it would be looked up before anything is guarded.
  base bigint;  -- see sql/schema/50_queue.sql
  last_id bigint;
  setting text;
  hooks bigint[];
  refs text[];
  placed boolean;
  rings boolean;
begin
  -- A single row, as nearly always. Several rows or none, one without a place, and errors: below.
  begin
    if set_config('lock_timeout', '10ms', true) is null
       or row_security_active('cdc.queue'::regclass) or
          row_security_active('cdc.subscription'::regclass) then
      perform cdc.unfiltered('cdc.queue'),
              cdc.unfiltered('cdc.subscription');
    end if;
    insert into cdc.queue (id, webhook_id, layout, action, "time", refs, uid)
    select 0, 0, 0, action, happened, null, null where false;
    -- Strict: several rows raise, too.
    select found.refs,
           found.placed,
           array(
             select s.webhook_id
               from cdc.subscription s
              where s.company = found.company and s.event = 'rating_changed'
                and (s.actions is null or strpos(s.actions, action::text) > 0)),
           pg_sequence_last_value('cdc.queue_id'::regclass),
           pg_sequence_last_value('cdc.bell'::regclass)
             > extract(epoch from happened) * 1000000
      into strict refs, placed, hooks, base, rings
      from (
        select null::bigint as source,
               own."id"::text as key,
               coalesce("customer"."company_id", "project"."company_id")::text collate "C" as company,
               array[null,
                     coalesce("customer"."company_id", "project"."company_id")::text,
                     "candidate"."project_id"::text,
                     own."candidate_id"::text,
                     own."id"::text] as refs,
               (coalesce("customer"."company_id", "project"."company_id") is null or
                (own."candidate_id" is not null and "candidate"."id" is null) or
                (own."customer_id" is not null and "customer"."id" is null) or
                ("candidate"."project_id" is not null and "project"."id" is null) or
                earlier.waits) is not true as placed
          from new_rows own
          left join lateral (
            select "candidate"."id", "candidate"."project_id"
              from "public"."candidate" "candidate"
             where "candidate"."id" = own."candidate_id" offset 0) "candidate" on true
          left join lateral (
            select "customer"."id", "customer"."company_id"
              from "public"."customer" "customer"
             where "customer"."id" = own."customer_id" offset 0) "customer" on true
          left join lateral (
            select "project"."id", "project"."company_id"
              from "public"."project" "project"
             where "project"."id" = "candidate"."project_id" offset 0) "project" on true
          left join lateral (
            select true as waits from cdc.unresolved u
             where u.key = own."id"::text collate "C" and u.source = 'public.rating' and u.tries < 10
             limit 1 offset 0) earlier on true
      ) found;
    last_id := base + (pg_logical_emit_message(false, 'cdc', repeat('.', (
      case when placed then nullif(cardinality(hooks), 0) end)::int)) - '0/0'::pg_lsn)::bigint;
    raise sqlstate 'CDC00';
  exception
    when sqlstate 'CDC00' then
      null;
    when serialization_failure then
      raise;
    when others then
      placed := false;
  end;
  if placed and last_id is not null then
    if cardinality(hooks) = 1 then
      insert into cdc.queue (id, webhook_id, layout, action, "time", refs, uid)
      values (last_id - 1, hooks[1], 82425801, action, happened, refs,
              gen_random_uuid());
    else
      insert into cdc.queue (id, webhook_id, layout, action, "time", refs, uid)
      select last_id - cardinality(hooks) + h.number, h.webhook_id, 82425801, action,
             happened, refs, gen_random_uuid()
        from unnest(hooks) with ordinality h (webhook_id, number);
    end if;
    if rings then
      perform pg_notify('cdc', '');
    end if;
    return null;
  elsif placed and base is not null then
    return null;  -- no webhook wants it
  end if;
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
  batch bigint := 5000;
begin
  rows := (select count(*) from (select from new_rows limit 65) sample);
  if rows = 0 then
    return null;
  elsif rows > 64 then
    rows := (select count(*) from new_rows);
  end if;
  loop
    problem := 'a parent row is not there (yet), or no company was found';
    -- A guarded read: whatever the suite did to its tables, its writers must not fail because of
    -- us. It always ends by raising, which releases its locks; the variables keep what was read.
    begin
      if set_config('lock_timeout', '10ms', true) is null
         or row_security_active('cdc.queue'::regclass) or
            row_security_active('cdc.subscription'::regclass) then
        perform cdc.unfiltered('cdc.queue'),
                cdc.unfiltered('cdc.subscription');
      end if;
      -- Of no row: what the insert below would wait for, or fail at, is found out here.
      insert into cdc.queue (id, webhook_id, layout, action, "time", refs, uid)
      select 0, 0, 0, action, happened, null, null where false;
      if rows <= 64 then
        select array_agg((found.source, wants.webhook_id, found.refs)::cdc.captured)
                 filter (where wants.webhook_id is not null) as captured,
               array_agg(jsonb_build_array(found.key, found.own)) filter (where found.own is not null)
                 as unplaced,
               pg_sequence_last_value('cdc.queue_id'::regclass) as base,
               pg_sequence_last_value('cdc.bell'::regclass) as bell
          into read
          from (
            select null::bigint as source,
                   own."id"::text as key,
                   coalesce("customer"."company_id", "project"."company_id")::text collate "C" as company,
                   array[null,
                         coalesce("customer"."company_id", "project"."company_id")::text,
                         "candidate"."project_id"::text,
                         own."candidate_id"::text,
                         own."id"::text] as refs,
                   case when coalesce("customer"."company_id", "project"."company_id") is null or
                             (own."candidate_id" is not null and "candidate"."id" is null) or
                             (own."customer_id" is not null and "customer"."id" is null) or
                             ("candidate"."project_id" is not null and "project"."id" is null) or
                             earlier.waits
                        then jsonb_build_object('id', own."id",
                                                'candidate_id', own."candidate_id",
                                                'customer_id', own."customer_id")
                   end as own
              from new_rows own
              left join lateral (
                select "candidate"."id", "candidate"."project_id"
                  from "public"."candidate" "candidate"
                 where "candidate"."id" = own."candidate_id" offset 0) "candidate" on true
              left join lateral (
                select "customer"."id", "customer"."company_id"
                  from "public"."customer" "customer"
                 where "customer"."id" = own."customer_id" offset 0) "customer" on true
              left join lateral (
                select "project"."id", "project"."company_id"
                  from "public"."project" "project"
                 where "project"."id" = "candidate"."project_id" offset 0) "project" on true
              left join lateral (
                select true as waits from cdc.unresolved u
                 where u.key = own."id"::text collate "C" and u.source = 'public.rating' and u.tries < 10
                 limit 1 offset 0) earlier on true
          ) found
          left join lateral (
            select s.webhook_id
              from cdc.subscription s
             where s.company = found.company and s.event = 'rating_changed'
               and (s.actions is null or strpos(s.actions, action::text) > 0)
            offset 0) wants on true and found.own is null;
      else
        -- Planned afresh for what it meets.
        setting := set_config('enable_seqscan', 'on', true);
        execute $many$
          with found as not materialized (  -- read twice: joining is cheaper than keeping what was joined
            select null::bigint as source,
                   own."id"::text as key,
                   coalesce("customer"."company_id", "project"."company_id")::text collate "C" as company,
                   array[null,
                         coalesce("customer"."company_id", "project"."company_id")::text,
                         "candidate"."project_id"::text,
                         own."candidate_id"::text,
                         own."id"::text] as refs,
                   case when coalesce("customer"."company_id", "project"."company_id") is null or
                             (own."candidate_id" is not null and "candidate"."id" is null) or
                             (own."customer_id" is not null and "customer"."id" is null) or
                             ("candidate"."project_id" is not null and "project"."id" is null) or
                             earlier.waits
                        then jsonb_build_object('id', own."id",
                                                'candidate_id', own."candidate_id",
                                                'customer_id', own."customer_id")
                   end as own
              from (select * from new_rows offset $1 limit $2) own
              left join "public"."candidate" "candidate" on "candidate"."id" = own."candidate_id"
              left join "public"."customer" "customer" on "customer"."id" = own."customer_id"
              left join "public"."project" "project" on "project"."id" = "candidate"."project_id"
              left join (
                select distinct u.key, true as waits from cdc.unresolved u
                 where u.source = 'public.rating' and u.tries < 10) earlier
                on earlier.key = own."id"::text collate "C"
          )
          select wanted.*,
                 (select array_agg(jsonb_build_array(found.key, found.own))
                    from found
                   where found.own is not null) as unplaced,
                 (select last_value from cdc.queue_id) as base, (select last_value from cdc.bell) as bell
            from (
              select array_agg((found.source, wants.webhook_id, found.refs)::cdc.captured) as captured
                from found
                join cdc.subscription wants
                  on wants.company = found.company
                 and wants.event = 'rating_changed'
                 and (wants.actions is null or strpos(wants.actions, $3::text) > 0) and found.own is null) wanted
        $many$
          into read using done, batch, action;
      end if;
      queued := coalesce(cardinality(read.captured), 0);
      unplaced := read.unplaced;
      base := read.base;
      if base is null then  -- never raised
        base := (select last_value from cdc.queue_id);
      end if;
      bell := read.bell;
      last_id := base + (pg_logical_emit_message(false, 'cdc', repeat('.', (nullif(queued, 0))::int)) - '0/0'::pg_lsn)::bigint;
      raise sqlstate 'CDC00';
    exception
      when sqlstate 'CDC00' then
        null;
      when serialization_failure then
        raise;
      when others then
        problem := format('%s (%s)', sqlerrm, sqlstate);
        queued := 0;
        begin
          select array_agg(jsonb_build_array(own."id"::text,
                            jsonb_build_object('id', own."id",
                                               'candidate_id', own."candidate_id",
                                               'customer_id', own."customer_id")))
            into unplaced
            from (select * from new_rows offset done limit batch) own;
        exception
          when serialization_failure then
            raise;
          when others then
            -- A column of the table's own was renamed.
            begin
              select array_agg(jsonb_build_array(row_.kept ->> 'id', row_.kept))
                into unplaced
                -- With schema and star: a column may have the name of either.
                from (select cdc.kept(pg_catalog.row_to_json(own.*), tg_relid) as kept
                        from (select * from new_rows offset done limit batch) own offset 0) row_;
              raise sqlstate 'CDC00';
            exception
              when sqlstate 'CDC00' then
                null;
              when serialization_failure then
                raise;
              when others then
                unplaced := array[jsonb_build_array(null, '{}'::jsonb)];
            end;
        end;
    end;
    -- Written outside the guard: a guarded write would cost a second transaction id.
    if queued > 0 then
      if rows > 64 then
        series := left(gen_random_uuid()::text, 24);
      end if;
      insert into cdc.queue (id, webhook_id, layout, action, "time", refs, uid)
      select last_id - queued + c.number, c.webhook_id, 82425801, action,
             happened, c.refs,
             -- Half of all the time of many would go into random numbers; one and a count will do.
             case when rows <= 64 then gen_random_uuid()
                  else (series || lpad(to_hex(c.number), 12, '0'))::uuid
             end
        from unnest(read.captured) with ordinality
             c (source, webhook_id, refs, number);
    end if;
    if unplaced is not null then
      begin
        insert into cdc.unresolved (id, resource, source, key, action, "time", own, reason)
        select 0, '', '', '', action, happened, null, '' where false;
        if row_security_active('cdc.unresolved'::regclass) then
          perform cdc.unfiltered('cdc.unresolved');
        end if;
        base := (select last_value from cdc.queue_id);
        bell := (select last_value from cdc.bell);
        last_id := base + (pg_logical_emit_message(false, 'cdc', repeat('.', (cardinality(unplaced))::int)) - '0/0'::pg_lsn)::bigint;
        raise sqlstate 'CDC00';
      exception
        when sqlstate 'CDC00' then
          insert into cdc.unresolved (id, resource, source, key, action, "time", own, reason)
          select last_id - cardinality(unplaced) + u.number, 'rating', 'public.rating', u.kept ->> 0, action,
                 happened, u.kept -> 1, problem
            from unnest(unplaced) with ordinality u (kept, number);
        when lock_not_available or deadlock_detected or serialization_failure then
          -- Another session has locked the table whole, and the writer's own limit ends its
          -- waiting: continuing would lose the change.
          raise;
        when others then
          -- A table or a right of ours was taken away.
          raise log 'cdc: % changes of % are lost: % (%)', cardinality(unplaced), 'public.rating', sqlerrm,
            problem;
      end;
    end if;
    if (queued > 0 or unplaced is not null)
       and bell > extract(epoch from happened) * 1000000 then
      perform pg_notify('cdc', '');
    end if;
    done := done + batch;
    exit when done >= rows;
    batch := 1 + 100000 * batch / greatest(batch, queued);
  end loop;
  return null;
end several;
end
-- Rendered by cdc (a8af6d25374e31aa); not to be changed by hand: `cdc triggers install` would undo it.
$cdc$;
revoke all on function cdc_capture.capture_rating() from public;
set local role cdc_owner;
revoke usage, create on schema cdc_capture from cdc_capture;
reset role;
set local role cdc_owner;
grant usage, create on schema cdc_capture to cdc_capture;
set local role cdc_capture;
create or replace function cdc_capture.resolve_rating(wanted bigint[]) returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
set row_security = on
as $cdc$
-- Tries again to capture changes of public.rating that lie in cdc.unresolved.
-- Called by cdc.resolve(), for the daemon. Returns how many it placed.
declare
  captured cdc.captured[];
  placed bigint[];
  types text;
  problem text := 'a parent row is not there, or no company was found';
begin
  begin
    if row_security_active('cdc.subscription'::regclass) then
      perform cdc.unfiltered('cdc.subscription');
    end if;
    -- The columns' types are today's: only the catalogue knows them.
    types := (
      select string_agg(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)), ', ')
        from pg_namespace n
        join pg_class c on c.relnamespace = n.oid
        join pg_attribute a on a.attrelid = c.oid
       where n.nspname = 'public'
         and c.relname = 'rating'
         and a.attname = any(array['id', 'candidate_id', 'customer_id']));
    if types is null then
      raise undefined_table using message =
        'table public.rating does not exist, or has none of the mapped columns';
    end if;
    execute $before$
      select array_agg((found.source, wants.webhook_id, found.refs)::cdc.captured)
               filter (where wants.webhook_id is not null) as captured,
             array_agg(distinct found.source) filter (where found.company is not null)
        from (
          select f.source, f.refs, f.action,
                 -- Behind an earlier change of the same row that stays, this one stays, too.
                 case when f.whole
                           and bool_and(f.whole and f.company is not null or f.tries >= 10)
                               over so_far
                           and not exists (
                             select from cdc.unresolved other
                              where other.key = f.row
                                and other.source = 'public.rating'
                                and other.tries < 10
                                and other.id < f.source and other.id <> all($1))
                      then f.company
                 end as company
            from (
              select u.id as source,
                     own."id"::text as key,
                     case when u.tries > 0 or not ((own."candidate_id" is not null and "candidate"."id" is null) or
                               (own."customer_id" is not null and "customer"."id" is null) or
                               ("candidate"."project_id" is not null and "project"."id" is null))
                          then coalesce("customer"."company_id", "project"."company_id")::text collate "C"
                     end as company,
                     array[null,
                           coalesce("customer"."company_id", "project"."company_id")::text,
                           "candidate"."project_id"::text,
                           own."candidate_id"::text,
                           own."id"::text] as refs,
                     u.action,
                     u.tries,
                     u.key as row,
                     own."id" is not null as whole
                from cdc.unresolved u
                cross join lateral jsonb_to_record(cdc.renamed(u.own)) as own ($before$ || types || $after$)
                left join lateral (
                  select "candidate"."id", "candidate"."project_id"
                    from "public"."candidate" "candidate"
                   where "candidate"."id" = own."candidate_id" offset 0) "candidate" on true
                left join lateral (
                  select "customer"."id", "customer"."company_id"
                    from "public"."customer" "customer"
                   where "customer"."id" = own."customer_id" offset 0) "customer" on true
                left join lateral (
                  select "project"."id", "project"."company_id"
                    from "public"."project" "project"
                   where "project"."id" = "candidate"."project_id" offset 0) "project" on true
               where u.id = any($1)
            ) f
          window so_far as (
            partition by f.row, case when f.row is null then f.source end order by f.source)
        ) found
        left join lateral (
          select s.webhook_id
            from cdc.subscription s
           where s.company = found.company and s.event = 'rating_changed'
             and (s.actions is null or strpos(s.actions, found.action::text) > 0)
          offset 0) wants on true
    $after$
      into captured, placed using wanted;
  exception
    when serialization_failure then
      raise;
    when others then
      problem := format('%s (%s)', sqlerrm, sqlstate);
      captured := null;
      placed := null;
  end;
  if captured is not null then
    insert into cdc.queue (id, webhook_id, layout, action, "time", refs)
    select u.id, c.webhook_id, 82425801, u.action, u."time", c.refs
      from unnest(captured) c (source, webhook_id, refs)
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
-- Rendered by cdc (331739c1661307ad); not to be changed by hand: `cdc triggers install` would undo it.
$cdc$;
revoke all on function cdc_capture.resolve_rating(bigint[]) from public;
grant execute on function cdc_capture.resolve_rating(bigint[]) to cdc_owner;
set local role cdc_owner;
revoke usage, create on schema cdc_capture from cdc_capture;
reset role;
set local role cdc_owner;
grant usage, create on schema cdc_capture to cdc_capture;
set local role cdc_capture;
create or replace function cdc_capture.backfill_rating(
  company_key text,
  webhook bigint,
  wanted "char",
  since timestamptz,
  after text[],
  most int
) returns table (place text[], layout int, refs text[])
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
set row_security = on
as $cdc$
#variable_conflict use_variable
-- Reads rows of public.rating that belong to a company, in the order of their places, from
-- the one behind `after` on: references of those that the webhook wants, null for the others. A row
-- without a place is the last of all; one that has nothing else ends a page before it is full.
-- Called by cdc.read_backfill(), for the daemon. Reads by keys, and by indexes of foreign keys.
declare
  of_company "public"."company"."id"%type := company_key;
  began constant timestamptz := clock_timestamp();
  way int := coalesce(after[1]::int, 1);
  page record;  -- the keys found, in their own type, and their places
  number int := 0;  -- of them
  walked boolean := false;
  ended boolean := false;
  row1 record;
  row2 record;
  row3 record;
begin
  if row_security_active('cdc.subscription'::regclass) then
    perform cdc.unfiltered('cdc.subscription');
  end if;
  select array(select own."id" from "public"."rating" own where false) as keys,
         array[]::text[] as places
    into page;
  <<walk>>
  begin
    if way = 1 then
      for row1 in
        select above."id" as key, above."id"::text collate "C" as place
          from "public"."project" above
         where above."company_id" = of_company
           and (after[2] is null or above."id"::text collate "C" >= after[2])
         order by 2
      loop
        if after[2] is distinct from row1.place then
          after := array['1', row1.place];
          exit walk when walked and clock_timestamp() > began + interval '1 s';
        end if;
        walked := true;
        for row2 in
          select above."id" as key, above."id"::text collate "C" as place
            from "public"."candidate" above
           where above."project_id" = row1.key
             and (after[3] is null or above."id"::text collate "C" >= after[3])
           order by 2
        loop
          if after[3] is distinct from row2.place then
            after := array['1', row1.place, row2.place];
            exit walk when walked and clock_timestamp() > began + interval '1 s';
          end if;
          walked := true;
          for row3 in
            select own."id" as key, own."id"::text collate "C" as place
              from "public"."rating" own
             where own."candidate_id" = row2.key
               and (after[4] is null or own."id"::text collate "C" > after[4])
             order by 2
             limit most - number
          loop
            select array_append(page.keys, row3.key) as keys,
                   page.places || array['1', row1.place, row2.place, row3.place]::text as places
              into page;
            number := number + 1;
            exit walk when number >= most;
          end loop;
        end loop;
      end loop;
      way := 2;
      after := array['2'];
    end if;
    if way = 2 then
      for row1 in
        select above."id" as key, above."id"::text collate "C" as place
          from "public"."customer" above
         where above."company_id" = of_company
           and (after[2] is null or above."id"::text collate "C" >= after[2])
         order by 2
      loop
        if after[2] is distinct from row1.place then
          after := array['2', row1.place];
          exit walk when walked and clock_timestamp() > began + interval '1 s';
        end if;
        walked := true;
        for row2 in
          select own."id" as key, own."id"::text collate "C" as place
            from "public"."rating" own
           where own."customer_id" = row1.key
             and (after[3] is null or own."id"::text collate "C" > after[3])
             and (select (select above2."company_id" = of_company
                  from "public"."project" above2 where above2."id" = above1."project_id")
                  from "public"."candidate" above1 where above1."id" = own."candidate_id") is not true
           order by 2
           limit most - number
        loop
          select array_append(page.keys, row2.key) as keys,
                 page.places || array['2', row1.place, row2.place]::text as places
            into page;
          number := number + 1;
          exit walk when number >= most;
        end loop;
      end loop;
      way := 3;
      after := array['3'];
    end if;
    ended := true;
  end walk;
  return query
  select found.place::text[], 82425801,
         case when wants.webhook_id is not null then found.refs end
    from (
      select null::bigint as source,
             own."id"::text as key,
             case when false or not ((own."candidate_id" is not null and "candidate"."id" is null) or
                       (own."customer_id" is not null and "customer"."id" is null) or
                       ("candidate"."project_id" is not null and "project"."id" is null))
                  then coalesce("customer"."company_id", "project"."company_id")::text collate "C"
             end as company,
             array[null,
                   coalesce("customer"."company_id", "project"."company_id")::text,
                   "candidate"."project_id"::text,
                   own."candidate_id"::text,
                   own."id"::text] as refs,
             p.place,
             p.number
        from unnest(page.keys, page.places) with ordinality p (key, place, number)
        left join lateral (
          select own."id", own."candidate_id", own."customer_id" from "public"."rating" own
           where own."id" = p.key offset 0) own on true
        left join lateral (
          select "candidate"."id", "candidate"."project_id"
            from "public"."candidate" "candidate"
           where "candidate"."id" = own."candidate_id" offset 0) "candidate" on true
        left join lateral (
          select "customer"."id", "customer"."company_id"
            from "public"."customer" "customer"
           where "customer"."id" = own."customer_id" offset 0) "customer" on true
        left join lateral (
          select "project"."id", "project"."company_id"
            from "public"."project" "project"
           where "project"."id" = "candidate"."project_id" offset 0) "project" on true
    ) found
    left join lateral (
      select s.webhook_id from cdc.subscription s
       where s.company = found.company and s.event = 'rating_changed'
         and s.webhook_id = webhook and found.company = company_key
         and (s.actions is null or strpos(s.actions, wanted::text) > 0)
      offset 0) wants on true
   order by found.number;
  if ended or number < most then
    place := case when not ended then after end;
    layout := null;
    refs := null;
    return next;
  end if;
end
-- Rendered by cdc (452a5fdf9520c4a3); not to be changed by hand: `cdc triggers install` would undo it.
$cdc$;
revoke all on function cdc_capture.backfill_rating(text, bigint, "char", timestamptz, text[], int) from public;
grant execute on function cdc_capture.backfill_rating(text, bigint, "char", timestamptz, text[], int) to cdc_owner;
set local role cdc_owner;
revoke usage, create on schema cdc_capture from cdc_capture;
reset role;
set local role cdc_owner;
grant usage, create on schema cdc_capture to cdc_capture;
set local role cdc_capture;
create or replace function cdc_capture.capture_note() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
set row_security = on
as $cdc$
#variable_conflict use_variable
-- Queues the changes of public.note for the webhooks that want note_changed.
-- Fired after each statement; reads parents, writes cdc.queue, rings the bell if it is armed.
-- Locks until the end of the transaction: ROW EXCLUSIVE on cdc.queue and on the two sequences that
-- are read. Those of reading tables are released at once, and waited for 10 ms at the
-- most, each. Never raises for what rows hold.
declare
  action constant "char" := case tg_op when 'INSERT' then 'c' else 'm' end;
  happened constant timestamptz := clock_timestamp();
  -- Nothing of ours is named here: it would be looked up before anything is guarded.
  base bigint;  -- see sql/schema/50_queue.sql
  last_id bigint;
  setting text;
  hooks bigint[];
  refs text[];
  placed boolean;
  rings boolean;
begin
  -- A single row, as nearly always. Several rows or none, one without a place, and errors: below.
  begin
    if set_config('lock_timeout', '10ms', true) is null
       or row_security_active('cdc.queue'::regclass) or
          row_security_active('cdc.subscription'::regclass) then
      perform cdc.unfiltered('cdc.queue'),
              cdc.unfiltered('cdc.subscription');
    end if;
    insert into cdc.queue (id, webhook_id, layout, action, "time", refs, uid)
    select 0, 0, 0, action, happened, null, null where false;
    -- Strict: several rows raise, too.
    select found.refs,
           found.placed,
           array(
             select s.webhook_id
               from cdc.subscription s
              where s.company = found.company and s.event = 'note_changed'
                and (s.actions is null or strpos(s.actions, action::text) > 0)),
           pg_sequence_last_value('cdc.queue_id'::regclass),
           pg_sequence_last_value('cdc.bell'::regclass)
             > extract(epoch from happened) * 1000000
      into strict refs, placed, hooks, base, rings
      from (
        select null::bigint as source,
               own."id"::text as key,
               coalesce("customer"."company_id", "project"."company_id")::text collate "C" as company,
               array[null,
                     coalesce("customer"."company_id", "project"."company_id")::text,
                     coalesce("candidate"."project_id", "question"."project_id")::text,
                     own."customer_id"::text,
                     own."answervideo_id"::text,
                     coalesce(own."candidate_id", "answervideo"."candidate_id")::text,
                     "answervideo"."candidate_id"::text,
                     "answervideo.candidate"."project_id"::text,
                     own."id"::text] as refs,
               (coalesce("customer"."company_id", "project"."company_id") is null or
                (own."answervideo_id" is not null and "answervideo"."id" is null) or
                (own."customer_id" is not null and "customer"."id" is null) or
                (coalesce(own."candidate_id", "answervideo"."candidate_id") is not null and "candidate"."id" is null) or
                ("answervideo"."question_id" is not null and "question"."id" is null) or
                (coalesce("candidate"."project_id", "question"."project_id") is not null and "project"."id" is null) or
                ("answervideo"."candidate_id" is not null and "answervideo.candidate"."id" is null) or
                earlier.waits) is not true as placed
          from new_rows own
          left join lateral (
            select "answervideo"."id", "answervideo"."candidate_id", "answervideo"."question_id"
              from "public"."answervideo" "answervideo"
             where "answervideo"."id" = own."answervideo_id" offset 0) "answervideo" on true
          left join lateral (
            select "customer"."id", "customer"."company_id"
              from "public"."customer" "customer"
             where "customer"."id" = own."customer_id" offset 0) "customer" on true
          left join lateral (
            select "candidate"."id", "candidate"."project_id"
              from "public"."candidate" "candidate"
             where "candidate"."id" = coalesce(own."candidate_id", "answervideo"."candidate_id") offset 0) "candidate" on true
          left join lateral (
            select "question"."id", "question"."project_id"
              from "public"."question" "question"
             where "question"."id" = "answervideo"."question_id" offset 0) "question" on true
          left join lateral (
            select "project"."id", "project"."company_id"
              from "public"."project" "project"
             where "project"."id" = coalesce("candidate"."project_id", "question"."project_id") offset 0) "project" on true
          left join lateral (
            select "answervideo.candidate"."id", "answervideo.candidate"."project_id"
              from "public"."candidate" "answervideo.candidate"
             where "answervideo.candidate"."id" = "answervideo"."candidate_id" offset 0) "answervideo.candidate" on true
          left join lateral (
            select true as waits from cdc.unresolved u
             where u.key = own."id"::text collate "C" and u.source = 'public.note' and u.tries < 10
             limit 1 offset 0) earlier on true
      ) found;
    last_id := base + (pg_logical_emit_message(false, 'cdc', repeat('.', (
      case when placed then nullif(cardinality(hooks), 0) end)::int)) - '0/0'::pg_lsn)::bigint;
    raise sqlstate 'CDC00';
  exception
    when sqlstate 'CDC00' then
      null;
    when serialization_failure then
      raise;
    when others then
      placed := false;
  end;
  if placed and last_id is not null then
    if cardinality(hooks) = 1 then
      insert into cdc.queue (id, webhook_id, layout, action, "time", refs, uid)
      values (last_id - 1, hooks[1], 676882923, action, happened, refs,
              gen_random_uuid());
    else
      insert into cdc.queue (id, webhook_id, layout, action, "time", refs, uid)
      select last_id - cardinality(hooks) + h.number, h.webhook_id, 676882923, action,
             happened, refs, gen_random_uuid()
        from unnest(hooks) with ordinality h (webhook_id, number);
    end if;
    if rings then
      perform pg_notify('cdc', '');
    end if;
    return null;
  elsif placed and base is not null then
    return null;  -- no webhook wants it
  end if;
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
  batch bigint := 5000;
begin
  rows := (select count(*) from (select from new_rows limit 65) sample);
  if rows = 0 then
    return null;
  elsif rows > 64 then
    rows := (select count(*) from new_rows);
  end if;
  loop
    problem := 'a parent row is not there (yet), or no company was found';
    -- A guarded read: whatever the suite did to its tables, its writers must not fail because of
    -- us. It always ends by raising, which releases its locks; the variables keep what was read.
    begin
      if set_config('lock_timeout', '10ms', true) is null
         or row_security_active('cdc.queue'::regclass) or
            row_security_active('cdc.subscription'::regclass) then
        perform cdc.unfiltered('cdc.queue'),
                cdc.unfiltered('cdc.subscription');
      end if;
      -- Of no row: what the insert below would wait for, or fail at, is found out here.
      insert into cdc.queue (id, webhook_id, layout, action, "time", refs, uid)
      select 0, 0, 0, action, happened, null, null where false;
      if rows <= 64 then
        select array_agg((found.source, wants.webhook_id, found.refs)::cdc.captured)
                 filter (where wants.webhook_id is not null) as captured,
               array_agg(jsonb_build_array(found.key, found.own)) filter (where found.own is not null)
                 as unplaced,
               pg_sequence_last_value('cdc.queue_id'::regclass) as base,
               pg_sequence_last_value('cdc.bell'::regclass) as bell
          into read
          from (
            select null::bigint as source,
                   own."id"::text as key,
                   coalesce("customer"."company_id", "project"."company_id")::text collate "C" as company,
                   array[null,
                         coalesce("customer"."company_id", "project"."company_id")::text,
                         coalesce("candidate"."project_id", "question"."project_id")::text,
                         own."customer_id"::text,
                         own."answervideo_id"::text,
                         coalesce(own."candidate_id", "answervideo"."candidate_id")::text,
                         "answervideo"."candidate_id"::text,
                         "answervideo.candidate"."project_id"::text,
                         own."id"::text] as refs,
                   case when coalesce("customer"."company_id", "project"."company_id") is null or
                             (own."answervideo_id" is not null and "answervideo"."id" is null) or
                             (own."customer_id" is not null and "customer"."id" is null) or
                             (coalesce(own."candidate_id", "answervideo"."candidate_id") is not null and "candidate"."id" is null) or
                             ("answervideo"."question_id" is not null and "question"."id" is null) or
                             (coalesce("candidate"."project_id", "question"."project_id") is not null and "project"."id" is null) or
                             ("answervideo"."candidate_id" is not null and "answervideo.candidate"."id" is null) or
                             earlier.waits
                        then jsonb_build_object('id', own."id",
                                                'answervideo_id', own."answervideo_id",
                                                'customer_id', own."customer_id",
                                                'candidate_id', own."candidate_id")
                   end as own
              from new_rows own
              left join lateral (
                select "answervideo"."id", "answervideo"."candidate_id", "answervideo"."question_id"
                  from "public"."answervideo" "answervideo"
                 where "answervideo"."id" = own."answervideo_id" offset 0) "answervideo" on true
              left join lateral (
                select "customer"."id", "customer"."company_id"
                  from "public"."customer" "customer"
                 where "customer"."id" = own."customer_id" offset 0) "customer" on true
              left join lateral (
                select "candidate"."id", "candidate"."project_id"
                  from "public"."candidate" "candidate"
                 where "candidate"."id" = coalesce(own."candidate_id", "answervideo"."candidate_id") offset 0) "candidate" on true
              left join lateral (
                select "question"."id", "question"."project_id"
                  from "public"."question" "question"
                 where "question"."id" = "answervideo"."question_id" offset 0) "question" on true
              left join lateral (
                select "project"."id", "project"."company_id"
                  from "public"."project" "project"
                 where "project"."id" = coalesce("candidate"."project_id", "question"."project_id") offset 0) "project" on true
              left join lateral (
                select "answervideo.candidate"."id", "answervideo.candidate"."project_id"
                  from "public"."candidate" "answervideo.candidate"
                 where "answervideo.candidate"."id" = "answervideo"."candidate_id" offset 0) "answervideo.candidate" on true
              left join lateral (
                select true as waits from cdc.unresolved u
                 where u.key = own."id"::text collate "C" and u.source = 'public.note' and u.tries < 10
                 limit 1 offset 0) earlier on true
          ) found
          left join lateral (
            select s.webhook_id
              from cdc.subscription s
             where s.company = found.company and s.event = 'note_changed'
               and (s.actions is null or strpos(s.actions, action::text) > 0)
            offset 0) wants on true and found.own is null;
      else
        -- Planned afresh for what it meets.
        setting := set_config('enable_seqscan', 'on', true);
        execute $many$
          with found as not materialized (  -- read twice: joining is cheaper than keeping what was joined
            select null::bigint as source,
                   own."id"::text as key,
                   coalesce("customer"."company_id", "project"."company_id")::text collate "C" as company,
                   array[null,
                         coalesce("customer"."company_id", "project"."company_id")::text,
                         coalesce("candidate"."project_id", "question"."project_id")::text,
                         own."customer_id"::text,
                         own."answervideo_id"::text,
                         coalesce(own."candidate_id", "answervideo"."candidate_id")::text,
                         "answervideo"."candidate_id"::text,
                         "answervideo.candidate"."project_id"::text,
                         own."id"::text] as refs,
                   case when coalesce("customer"."company_id", "project"."company_id") is null or
                             (own."answervideo_id" is not null and "answervideo"."id" is null) or
                             (own."customer_id" is not null and "customer"."id" is null) or
                             (coalesce(own."candidate_id", "answervideo"."candidate_id") is not null and "candidate"."id" is null) or
                             ("answervideo"."question_id" is not null and "question"."id" is null) or
                             (coalesce("candidate"."project_id", "question"."project_id") is not null and "project"."id" is null) or
                             ("answervideo"."candidate_id" is not null and "answervideo.candidate"."id" is null) or
                             earlier.waits
                        then jsonb_build_object('id', own."id",
                                                'answervideo_id', own."answervideo_id",
                                                'customer_id', own."customer_id",
                                                'candidate_id', own."candidate_id")
                   end as own
              from (select * from new_rows offset $1 limit $2) own
              left join "public"."answervideo" "answervideo" on "answervideo"."id" = own."answervideo_id"
              left join "public"."customer" "customer" on "customer"."id" = own."customer_id"
              left join "public"."candidate" "candidate" on "candidate"."id" = coalesce(own."candidate_id", "answervideo"."candidate_id")
              left join "public"."question" "question" on "question"."id" = "answervideo"."question_id"
              left join "public"."project" "project" on "project"."id" = coalesce("candidate"."project_id", "question"."project_id")
              left join "public"."candidate" "answervideo.candidate" on "answervideo.candidate"."id" = "answervideo"."candidate_id"
              left join (
                select distinct u.key, true as waits from cdc.unresolved u
                 where u.source = 'public.note' and u.tries < 10) earlier
                on earlier.key = own."id"::text collate "C"
          )
          select wanted.*,
                 (select array_agg(jsonb_build_array(found.key, found.own))
                    from found
                   where found.own is not null) as unplaced,
                 (select last_value from cdc.queue_id) as base, (select last_value from cdc.bell) as bell
            from (
              select array_agg((found.source, wants.webhook_id, found.refs)::cdc.captured) as captured
                from found
                join cdc.subscription wants
                  on wants.company = found.company
                 and wants.event = 'note_changed'
                 and (wants.actions is null or strpos(wants.actions, $3::text) > 0) and found.own is null) wanted
        $many$
          into read using done, batch, action;
      end if;
      queued := coalesce(cardinality(read.captured), 0);
      unplaced := read.unplaced;
      base := read.base;
      if base is null then  -- never raised
        base := (select last_value from cdc.queue_id);
      end if;
      bell := read.bell;
      last_id := base + (pg_logical_emit_message(false, 'cdc', repeat('.', (nullif(queued, 0))::int)) - '0/0'::pg_lsn)::bigint;
      raise sqlstate 'CDC00';
    exception
      when sqlstate 'CDC00' then
        null;
      when serialization_failure then
        raise;
      when others then
        problem := format('%s (%s)', sqlerrm, sqlstate);
        queued := 0;
        begin
          select array_agg(jsonb_build_array(own."id"::text,
                            jsonb_build_object('id', own."id",
                                               'answervideo_id', own."answervideo_id",
                                               'customer_id', own."customer_id",
                                               'candidate_id', own."candidate_id")))
            into unplaced
            from (select * from new_rows offset done limit batch) own;
        exception
          when serialization_failure then
            raise;
          when others then
            -- A column of the table's own was renamed.
            begin
              select array_agg(jsonb_build_array(row_.kept ->> 'id', row_.kept))
                into unplaced
                -- With schema and star: a column may have the name of either.
                from (select cdc.kept(pg_catalog.row_to_json(own.*), tg_relid) as kept
                        from (select * from new_rows offset done limit batch) own offset 0) row_;
              raise sqlstate 'CDC00';
            exception
              when sqlstate 'CDC00' then
                null;
              when serialization_failure then
                raise;
              when others then
                unplaced := array[jsonb_build_array(null, '{}'::jsonb)];
            end;
        end;
    end;
    -- Written outside the guard: a guarded write would cost a second transaction id.
    if queued > 0 then
      if rows > 64 then
        series := left(gen_random_uuid()::text, 24);
      end if;
      insert into cdc.queue (id, webhook_id, layout, action, "time", refs, uid)
      select last_id - queued + c.number, c.webhook_id, 676882923, action,
             happened, c.refs,
             -- Half of all the time of many would go into random numbers; one and a count will do.
             case when rows <= 64 then gen_random_uuid()
                  else (series || lpad(to_hex(c.number), 12, '0'))::uuid
             end
        from unnest(read.captured) with ordinality
             c (source, webhook_id, refs, number);
    end if;
    if unplaced is not null then
      begin
        insert into cdc.unresolved (id, resource, source, key, action, "time", own, reason)
        select 0, '', '', '', action, happened, null, '' where false;
        if row_security_active('cdc.unresolved'::regclass) then
          perform cdc.unfiltered('cdc.unresolved');
        end if;
        base := (select last_value from cdc.queue_id);
        bell := (select last_value from cdc.bell);
        last_id := base + (pg_logical_emit_message(false, 'cdc', repeat('.', (cardinality(unplaced))::int)) - '0/0'::pg_lsn)::bigint;
        raise sqlstate 'CDC00';
      exception
        when sqlstate 'CDC00' then
          insert into cdc.unresolved (id, resource, source, key, action, "time", own, reason)
          select last_id - cardinality(unplaced) + u.number, 'note', 'public.note', u.kept ->> 0, action,
                 happened, u.kept -> 1, problem
            from unnest(unplaced) with ordinality u (kept, number);
        when lock_not_available or deadlock_detected or serialization_failure then
          -- Another session has locked the table whole, and the writer's own limit ends its
          -- waiting: continuing would lose the change.
          raise;
        when others then
          -- A table or a right of ours was taken away.
          raise log 'cdc: % changes of % are lost: % (%)', cardinality(unplaced), 'public.note', sqlerrm,
            problem;
      end;
    end if;
    if (queued > 0 or unplaced is not null)
       and bell > extract(epoch from happened) * 1000000 then
      perform pg_notify('cdc', '');
    end if;
    done := done + batch;
    exit when done >= rows;
    batch := 1 + 100000 * batch / greatest(batch, queued);
  end loop;
  return null;
end several;
end
-- Rendered by cdc (28fb9c64edc3534f); not to be changed by hand: `cdc triggers install` would undo it.
$cdc$;
revoke all on function cdc_capture.capture_note() from public;
set local role cdc_owner;
revoke usage, create on schema cdc_capture from cdc_capture;
reset role;
set local role cdc_owner;
grant usage, create on schema cdc_capture to cdc_capture;
set local role cdc_capture;
create or replace function cdc_capture.resolve_note(wanted bigint[]) returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
set row_security = on
as $cdc$
-- Tries again to capture changes of public.note that lie in cdc.unresolved.
-- Called by cdc.resolve(), for the daemon. Returns how many it placed.
declare
  captured cdc.captured[];
  placed bigint[];
  types text;
  problem text := 'a parent row is not there, or no company was found';
begin
  begin
    if row_security_active('cdc.subscription'::regclass) then
      perform cdc.unfiltered('cdc.subscription');
    end if;
    -- The columns' types are today's: only the catalogue knows them.
    types := (
      select string_agg(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)), ', ')
        from pg_namespace n
        join pg_class c on c.relnamespace = n.oid
        join pg_attribute a on a.attrelid = c.oid
       where n.nspname = 'public'
         and c.relname = 'note'
         and a.attname = any(array['id', 'answervideo_id', 'customer_id', 'candidate_id']));
    if types is null then
      raise undefined_table using message =
        'table public.note does not exist, or has none of the mapped columns';
    end if;
    execute $before$
      select array_agg((found.source, wants.webhook_id, found.refs)::cdc.captured)
               filter (where wants.webhook_id is not null) as captured,
             array_agg(distinct found.source) filter (where found.company is not null)
        from (
          select f.source, f.refs, f.action,
                 -- Behind an earlier change of the same row that stays, this one stays, too.
                 case when f.whole
                           and bool_and(f.whole and f.company is not null or f.tries >= 10)
                               over so_far
                           and not exists (
                             select from cdc.unresolved other
                              where other.key = f.row
                                and other.source = 'public.note'
                                and other.tries < 10
                                and other.id < f.source and other.id <> all($1))
                      then f.company
                 end as company
            from (
              select u.id as source,
                     own."id"::text as key,
                     case when u.tries > 0 or not ((own."answervideo_id" is not null and "answervideo"."id" is null) or
                               (own."customer_id" is not null and "customer"."id" is null) or
                               (coalesce(own."candidate_id", "answervideo"."candidate_id") is not null and "candidate"."id" is null) or
                               ("answervideo"."question_id" is not null and "question"."id" is null) or
                               (coalesce("candidate"."project_id", "question"."project_id") is not null and "project"."id" is null) or
                               ("answervideo"."candidate_id" is not null and "answervideo.candidate"."id" is null))
                          then coalesce("customer"."company_id", "project"."company_id")::text collate "C"
                     end as company,
                     array[null,
                           coalesce("customer"."company_id", "project"."company_id")::text,
                           coalesce("candidate"."project_id", "question"."project_id")::text,
                           own."customer_id"::text,
                           own."answervideo_id"::text,
                           coalesce(own."candidate_id", "answervideo"."candidate_id")::text,
                           "answervideo"."candidate_id"::text,
                           "answervideo.candidate"."project_id"::text,
                           own."id"::text] as refs,
                     u.action,
                     u.tries,
                     u.key as row,
                     own."id" is not null as whole
                from cdc.unresolved u
                cross join lateral jsonb_to_record(cdc.renamed(u.own)) as own ($before$ || types || $after$)
                left join lateral (
                  select "answervideo"."id", "answervideo"."candidate_id", "answervideo"."question_id"
                    from "public"."answervideo" "answervideo"
                   where "answervideo"."id" = own."answervideo_id" offset 0) "answervideo" on true
                left join lateral (
                  select "customer"."id", "customer"."company_id"
                    from "public"."customer" "customer"
                   where "customer"."id" = own."customer_id" offset 0) "customer" on true
                left join lateral (
                  select "candidate"."id", "candidate"."project_id"
                    from "public"."candidate" "candidate"
                   where "candidate"."id" = coalesce(own."candidate_id", "answervideo"."candidate_id") offset 0) "candidate" on true
                left join lateral (
                  select "question"."id", "question"."project_id"
                    from "public"."question" "question"
                   where "question"."id" = "answervideo"."question_id" offset 0) "question" on true
                left join lateral (
                  select "project"."id", "project"."company_id"
                    from "public"."project" "project"
                   where "project"."id" = coalesce("candidate"."project_id", "question"."project_id") offset 0) "project" on true
                left join lateral (
                  select "answervideo.candidate"."id", "answervideo.candidate"."project_id"
                    from "public"."candidate" "answervideo.candidate"
                   where "answervideo.candidate"."id" = "answervideo"."candidate_id" offset 0) "answervideo.candidate" on true
               where u.id = any($1)
            ) f
          window so_far as (
            partition by f.row, case when f.row is null then f.source end order by f.source)
        ) found
        left join lateral (
          select s.webhook_id
            from cdc.subscription s
           where s.company = found.company and s.event = 'note_changed'
             and (s.actions is null or strpos(s.actions, found.action::text) > 0)
          offset 0) wants on true
    $after$
      into captured, placed using wanted;
  exception
    when serialization_failure then
      raise;
    when others then
      problem := format('%s (%s)', sqlerrm, sqlstate);
      captured := null;
      placed := null;
  end;
  if captured is not null then
    insert into cdc.queue (id, webhook_id, layout, action, "time", refs)
    select u.id, c.webhook_id, 676882923, u.action, u."time", c.refs
      from unnest(captured) c (source, webhook_id, refs)
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
-- Rendered by cdc (ef6880717b81043d); not to be changed by hand: `cdc triggers install` would undo it.
$cdc$;
revoke all on function cdc_capture.resolve_note(bigint[]) from public;
grant execute on function cdc_capture.resolve_note(bigint[]) to cdc_owner;
set local role cdc_owner;
revoke usage, create on schema cdc_capture from cdc_capture;
reset role;
set local role cdc_owner;
grant usage, create on schema cdc_capture to cdc_capture;
set local role cdc_capture;
create or replace function cdc_capture.backfill_note(
  company_key text,
  webhook bigint,
  wanted "char",
  since timestamptz,
  after text[],
  most int
) returns table (place text[], layout int, refs text[])
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
set row_security = on
as $cdc$
#variable_conflict use_variable
-- Reads rows of public.note that belong to a company, in the order of their places, from
-- the one behind `after` on: references of those that the webhook wants, null for the others. A row
-- without a place is the last of all; one that has nothing else ends a page before it is full.
-- Called by cdc.read_backfill(), for the daemon. Reads by keys, and by indexes of foreign keys.
declare
  of_company "public"."company"."id"%type := company_key;
  began constant timestamptz := clock_timestamp();
  way int := coalesce(after[1]::int, 1);
  page record;  -- the keys found, in their own type, and their places
  number int := 0;  -- of them
  walked boolean := false;
  ended boolean := false;
  row1 record;
  row2 record;
  row3 record;
  row4 record;
begin
  if row_security_active('cdc.subscription'::regclass) then
    perform cdc.unfiltered('cdc.subscription');
  end if;
  select array(select own."id" from "public"."note" own where false) as keys,
         array[]::text[] as places
    into page;
  <<walk>>
  begin
    if way = 1 then
      for row1 in
        select above."id" as key, above."id"::text collate "C" as place
          from "public"."project" above
         where above."company_id" = of_company
           and (after[2] is null or above."id"::text collate "C" >= after[2])
         order by 2
      loop
        if after[2] is distinct from row1.place then
          after := array['1', row1.place];
          exit walk when walked and clock_timestamp() > began + interval '1 s';
        end if;
        walked := true;
        for row2 in
          select above."id" as key, above."id"::text collate "C" as place
            from "public"."candidate" above
           where above."project_id" = row1.key
             and (after[3] is null or above."id"::text collate "C" >= after[3])
           order by 2
        loop
          if after[3] is distinct from row2.place then
            after := array['1', row1.place, row2.place];
            exit walk when walked and clock_timestamp() > began + interval '1 s';
          end if;
          walked := true;
          for row3 in
            select above."id" as key, above."id"::text collate "C" as place
              from "public"."answervideo" above
             where above."candidate_id" = row2.key
               and (after[4] is null or above."id"::text collate "C" >= after[4])
             order by 2
          loop
            if after[4] is distinct from row3.place then
              after := array['1', row1.place, row2.place, row3.place];
              exit walk when walked and clock_timestamp() > began + interval '1 s';
            end if;
            walked := true;
            for row4 in
              select own."id" as key, own."id"::text collate "C" as place
                from "public"."note" own
               where own."answervideo_id" = row3.key
                 and (after[5] is null or own."id"::text collate "C" > after[5])
               order by 2
               limit most - number
            loop
              select array_append(page.keys, row4.key) as keys,
                     page.places || array['1', row1.place, row2.place, row3.place, row4.place]::text as places
                into page;
              number := number + 1;
              exit walk when number >= most;
            end loop;
          end loop;
        end loop;
      end loop;
      way := 2;
      after := array['2'];
    end if;
    if way = 2 then
      for row1 in
        select above."id" as key, above."id"::text collate "C" as place
          from "public"."project" above
         where above."company_id" = of_company
           and (after[2] is null or above."id"::text collate "C" >= after[2])
         order by 2
      loop
        if after[2] is distinct from row1.place then
          after := array['2', row1.place];
          exit walk when walked and clock_timestamp() > began + interval '1 s';
        end if;
        walked := true;
        for row2 in
          select above."id" as key, above."id"::text collate "C" as place
            from "public"."question" above
           where above."project_id" = row1.key
             and (after[3] is null or above."id"::text collate "C" >= after[3])
           order by 2
        loop
          if after[3] is distinct from row2.place then
            after := array['2', row1.place, row2.place];
            exit walk when walked and clock_timestamp() > began + interval '1 s';
          end if;
          walked := true;
          for row3 in
            select above."id" as key, above."id"::text collate "C" as place
              from "public"."answervideo" above
             where above."question_id" = row2.key
               and (after[4] is null or above."id"::text collate "C" >= after[4])
             order by 2
          loop
            if after[4] is distinct from row3.place then
              after := array['2', row1.place, row2.place, row3.place];
              exit walk when walked and clock_timestamp() > began + interval '1 s';
            end if;
            walked := true;
            for row4 in
              select own."id" as key, own."id"::text collate "C" as place
                from "public"."note" own
               where own."answervideo_id" = row3.key
                 and (after[5] is null or own."id"::text collate "C" > after[5])
                 and (select (select (select above3."company_id" = of_company
                      from "public"."project" above3 where above3."id" = above2."project_id")
                      from "public"."candidate" above2 where above2."id" = above1."candidate_id")
                      from "public"."answervideo" above1 where above1."id" = own."answervideo_id") is not true
               order by 2
               limit most - number
            loop
              select array_append(page.keys, row4.key) as keys,
                     page.places || array['2', row1.place, row2.place, row3.place, row4.place]::text as places
                into page;
              number := number + 1;
              exit walk when number >= most;
            end loop;
          end loop;
        end loop;
      end loop;
      way := 3;
      after := array['3'];
    end if;
    if way = 3 then
      for row1 in
        select above."id" as key, above."id"::text collate "C" as place
          from "public"."customer" above
         where above."company_id" = of_company
           and (after[2] is null or above."id"::text collate "C" >= after[2])
         order by 2
      loop
        if after[2] is distinct from row1.place then
          after := array['3', row1.place];
          exit walk when walked and clock_timestamp() > began + interval '1 s';
        end if;
        walked := true;
        for row2 in
          select own."id" as key, own."id"::text collate "C" as place
            from "public"."note" own
           where own."customer_id" = row1.key
             and (after[3] is null or own."id"::text collate "C" > after[3])
             and (select (select (select above3."company_id" = of_company
                  from "public"."project" above3 where above3."id" = above2."project_id")
                  from "public"."candidate" above2 where above2."id" = above1."candidate_id")
                  from "public"."answervideo" above1 where above1."id" = own."answervideo_id") is not true
             and (select (select (select above3."company_id" = of_company
                  from "public"."project" above3 where above3."id" = above2."project_id")
                  from "public"."question" above2 where above2."id" = above1."question_id")
                  from "public"."answervideo" above1 where above1."id" = own."answervideo_id") is not true
           order by 2
           limit most - number
        loop
          select array_append(page.keys, row2.key) as keys,
                 page.places || array['3', row1.place, row2.place]::text as places
            into page;
          number := number + 1;
          exit walk when number >= most;
        end loop;
      end loop;
      way := 4;
      after := array['4'];
    end if;
    if way = 4 then
      for row1 in
        select above."id" as key, above."id"::text collate "C" as place
          from "public"."project" above
         where above."company_id" = of_company
           and (after[2] is null or above."id"::text collate "C" >= after[2])
         order by 2
      loop
        if after[2] is distinct from row1.place then
          after := array['4', row1.place];
          exit walk when walked and clock_timestamp() > began + interval '1 s';
        end if;
        walked := true;
        for row2 in
          select above."id" as key, above."id"::text collate "C" as place
            from "public"."candidate" above
           where above."project_id" = row1.key
             and (after[3] is null or above."id"::text collate "C" >= after[3])
           order by 2
        loop
          if after[3] is distinct from row2.place then
            after := array['4', row1.place, row2.place];
            exit walk when walked and clock_timestamp() > began + interval '1 s';
          end if;
          walked := true;
          for row3 in
            select own."id" as key, own."id"::text collate "C" as place
              from "public"."note" own
             where own."candidate_id" = row2.key
               and (after[4] is null or own."id"::text collate "C" > after[4])
               and (select (select (select above3."company_id" = of_company
                    from "public"."project" above3 where above3."id" = above2."project_id")
                    from "public"."candidate" above2 where above2."id" = above1."candidate_id")
                    from "public"."answervideo" above1 where above1."id" = own."answervideo_id") is not true
               and (select (select (select above3."company_id" = of_company
                    from "public"."project" above3 where above3."id" = above2."project_id")
                    from "public"."question" above2 where above2."id" = above1."question_id")
                    from "public"."answervideo" above1 where above1."id" = own."answervideo_id") is not true
               and (select above1."company_id" = of_company
                    from "public"."customer" above1 where above1."id" = own."customer_id") is not true
             order by 2
             limit most - number
          loop
            select array_append(page.keys, row3.key) as keys,
                   page.places || array['4', row1.place, row2.place, row3.place]::text as places
              into page;
            number := number + 1;
            exit walk when number >= most;
          end loop;
        end loop;
      end loop;
      way := 5;
      after := array['5'];
    end if;
    ended := true;
  end walk;
  return query
  select found.place::text[], 676882923,
         case when wants.webhook_id is not null then found.refs end
    from (
      select null::bigint as source,
             own."id"::text as key,
             case when false or not ((own."answervideo_id" is not null and "answervideo"."id" is null) or
                       (own."customer_id" is not null and "customer"."id" is null) or
                       (coalesce(own."candidate_id", "answervideo"."candidate_id") is not null and "candidate"."id" is null) or
                       ("answervideo"."question_id" is not null and "question"."id" is null) or
                       (coalesce("candidate"."project_id", "question"."project_id") is not null and "project"."id" is null) or
                       ("answervideo"."candidate_id" is not null and "answervideo.candidate"."id" is null))
                  then coalesce("customer"."company_id", "project"."company_id")::text collate "C"
             end as company,
             array[null,
                   coalesce("customer"."company_id", "project"."company_id")::text,
                   coalesce("candidate"."project_id", "question"."project_id")::text,
                   own."customer_id"::text,
                   own."answervideo_id"::text,
                   coalesce(own."candidate_id", "answervideo"."candidate_id")::text,
                   "answervideo"."candidate_id"::text,
                   "answervideo.candidate"."project_id"::text,
                   own."id"::text] as refs,
             p.place,
             p.number
        from unnest(page.keys, page.places) with ordinality p (key, place, number)
        left join lateral (
          select own."id", own."answervideo_id", own."customer_id", own."candidate_id" from "public"."note" own
           where own."id" = p.key offset 0) own on true
        left join lateral (
          select "answervideo"."id", "answervideo"."candidate_id", "answervideo"."question_id"
            from "public"."answervideo" "answervideo"
           where "answervideo"."id" = own."answervideo_id" offset 0) "answervideo" on true
        left join lateral (
          select "customer"."id", "customer"."company_id"
            from "public"."customer" "customer"
           where "customer"."id" = own."customer_id" offset 0) "customer" on true
        left join lateral (
          select "candidate"."id", "candidate"."project_id"
            from "public"."candidate" "candidate"
           where "candidate"."id" = coalesce(own."candidate_id", "answervideo"."candidate_id") offset 0) "candidate" on true
        left join lateral (
          select "question"."id", "question"."project_id"
            from "public"."question" "question"
           where "question"."id" = "answervideo"."question_id" offset 0) "question" on true
        left join lateral (
          select "project"."id", "project"."company_id"
            from "public"."project" "project"
           where "project"."id" = coalesce("candidate"."project_id", "question"."project_id") offset 0) "project" on true
        left join lateral (
          select "answervideo.candidate"."id", "answervideo.candidate"."project_id"
            from "public"."candidate" "answervideo.candidate"
           where "answervideo.candidate"."id" = "answervideo"."candidate_id" offset 0) "answervideo.candidate" on true
    ) found
    left join lateral (
      select s.webhook_id from cdc.subscription s
       where s.company = found.company and s.event = 'note_changed'
         and s.webhook_id = webhook and found.company = company_key
         and (s.actions is null or strpos(s.actions, wanted::text) > 0)
      offset 0) wants on true
   order by found.number;
  if ended or number < most then
    place := case when not ended then after end;
    layout := null;
    refs := null;
    return next;
  end if;
end
-- Rendered by cdc (bd9e354ab1fe5268); not to be changed by hand: `cdc triggers install` would undo it.
$cdc$;
revoke all on function cdc_capture.backfill_note(text, bigint, "char", timestamptz, text[], int) from public;
grant execute on function cdc_capture.backfill_note(text, bigint, "char", timestamptz, text[], int) to cdc_owner;
set local role cdc_owner;
revoke usage, create on schema cdc_capture from cdc_capture;
reset role;
commit;

-- public.project; locks it SHARE ROW EXCLUSIVE
begin;
set local lock_timeout = '500ms';
set local search_path = pg_catalog, pg_temp;
set local quote_all_identifiers = off;
set local standard_conforming_strings = on;
set local default_table_access_method = heap;
create or replace trigger cdc_capture_insert after insert on "public"."project"
  referencing new table as new_rows
  for each statement execute function cdc_capture.capture_project();
create or replace trigger cdc_capture_update after update on "public"."project"
  referencing new table as new_rows
  for each statement execute function cdc_capture.capture_project();
commit;

-- public.candidate; locks it SHARE ROW EXCLUSIVE
begin;
set local lock_timeout = '500ms';
set local search_path = pg_catalog, pg_temp;
set local quote_all_identifiers = off;
set local standard_conforming_strings = on;
set local default_table_access_method = heap;
create or replace trigger cdc_capture_insert after insert on "public"."candidate"
  referencing new table as new_rows
  for each statement execute function cdc_capture.capture_candidate();
create or replace trigger cdc_capture_update after update on "public"."candidate"
  referencing new table as new_rows
  for each statement execute function cdc_capture.capture_candidate();
commit;

-- public.answervideo; locks it SHARE ROW EXCLUSIVE
begin;
set local lock_timeout = '500ms';
set local search_path = pg_catalog, pg_temp;
set local quote_all_identifiers = off;
set local standard_conforming_strings = on;
set local default_table_access_method = heap;
create or replace trigger cdc_capture_insert after insert on "public"."answervideo"
  referencing new table as new_rows
  for each statement execute function cdc_capture.capture_answervideo();
create or replace trigger cdc_capture_update after update on "public"."answervideo"
  referencing new table as new_rows
  for each statement execute function cdc_capture.capture_answervideo();
commit;

-- public.rating; locks it SHARE ROW EXCLUSIVE
begin;
set local lock_timeout = '500ms';
set local search_path = pg_catalog, pg_temp;
set local quote_all_identifiers = off;
set local standard_conforming_strings = on;
set local default_table_access_method = heap;
create or replace trigger cdc_capture_insert after insert on "public"."rating"
  referencing new table as new_rows
  for each statement execute function cdc_capture.capture_rating();
create or replace trigger cdc_capture_update after update on "public"."rating"
  referencing new table as new_rows
  for each statement execute function cdc_capture.capture_rating();
commit;

-- public.note; locks it SHARE ROW EXCLUSIVE
begin;
set local lock_timeout = '500ms';
set local search_path = pg_catalog, pg_temp;
set local quote_all_identifiers = off;
set local standard_conforming_strings = on;
set local default_table_access_method = heap;
create or replace trigger cdc_capture_insert after insert on "public"."note"
  referencing new table as new_rows
  for each statement execute function cdc_capture.capture_note();
create or replace trigger cdc_capture_update after update on "public"."note"
  referencing new table as new_rows
  for each statement execute function cdc_capture.capture_note();
commit;

-- Daemons with another mapping than this one refuse to start.
update cdc.installation set mapping = 'c407ad4bb1cfbd528aeba48ed01517d54d08793a9b4ae546c46a6346fa9661f1',
  mapped_at = pg_catalog.clock_timestamp(), mapping_source = '# What the interview suite''s tables mean: the default mapping.
#
# Another installation copies this file, writes its own names and points CDC_MAPPING at it.
# Names of tables and columns follow SQL: plain ones are folded to lower case and looked up in schema
# public; others are written quoted: ''"Recruiting"."Job Application"''.
#
# A resource has
#   table    where its rows lie
#   key      the column that identifies a row (bigint, uuid or text, unique), or a list of several
#   parents  column that leads to each parent (a list where its key is one); where several paths lead to the
#            same ancestor, they are tried in this order, the row''s own column first. In this file, a column
#            that the table lacks is left out as long as another path leads to the company; in a file of your
#            own it is refused
#   parents_if_there  further ones, used where the table has the column
#   url      its address below base_url; {project} is the address of the row''s project, and in a
#            project''s own url its key (of a key of several columns, {tenant_id} and {id}). Of several, the
#            first one whose parents are all there is taken
#   event    what a webhook registers for; without one, changes of the table are not captured
#   data     the members of the payload''s data after "action": addresses of these resources
#   optional true where rows may lead to no company by design: their changes are then not captured

base_url = "https://interview-suite.com/api/v3/"

[company]
table = "company"
key = "id"
url = "companies/{company}/"
# Each company is reached under a host of its own: name the column that holds it
# (acme-inc.interview-suite.com), or a whole base URL. A company where it is null has the one above.
# base_url_column = "host"
# What people call a company; shown beside its key, and accepted by --company. A daemon does not read it.
# name = "name"

[resources.customer]
table = "customer"
key = "id"
parents = { company = "company_id" }
url = "{company}customers/{customer}/"

[resources.project]
table = "project"
key = "id"
parents = { company = "company_id" }
url = "{company}projects/{project}/"
event = "project_changed"
data = ["project"]

[resources.question]
table = "question"
key = "id"
parents = { project = "project_id" }
url = "{project}questions/{question}/"

[resources.candidate]
table = "candidate"
key = "id"
parents = { project = "project_id" }
url = "{project}candidates/{candidate}/"
event = "candidate_changed"
data = ["project", "candidate"]

[resources.answervideo]
table = "answervideo"
key = "id"
parents = { candidate = "candidate_id", question = "question_id" }
url = ["{candidate}answervideos/{answervideo}/", "{company}answervideos/{answervideo}/"]
event = "answervideo_changed"
data = ["project", "candidate", "question", "answervideo"]

[resources.rating]
table = "rating"
key = "id"
parents = { candidate = "candidate_id", customer = "customer_id" }
parents_if_there = { answervideo = "answervideo_id" }
url = ["{candidate}ratings/{rating}/", "{company}ratings/{rating}/"]
event = "rating_changed"
data = ["project", "candidate", "rating"]

[resources.note]
table = "note"
key = "id"
parents = { answervideo = "answervideo_id", customer = "customer_id", candidate = "candidate_id" }
url = ["{candidate}notes/{note}/", "{company}notes/{note}/"]
event = "note_changed"
data = ["project", "customer", "answervideo", "candidate", "note"]
';
