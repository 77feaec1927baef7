-- 0001 -> 0002, in one transaction. Nothing of it takes long: the indexes were made before, each on its
-- own (CREATE INDEX CONCURRENTLY), and are found here. Without them it does the same, but makes them
-- under its locks.
--
-- Locks, the strong ones together at the beginning, each waited for lock_timeout at the most:
--   all tables but those of the next line: ACCESS EXCLUSIVE. Daemons wait; no writer of the suite touches
--   these tables.
--   cdc.subscription, cdc.unresolved: SHARE UPDATE EXCLUSIVE. No session waits. What needs a strong lock on
--   tables that writers touch (these and cdc.queue) was done before, one table at a time.
--
-- Daemons of 0001 that run go on with it: what they do not write has a default.
lock table cdc.retry, cdc.dead, cdc.attempt, cdc.lane, cdc.shard, cdc.installation, cdc.layout, cdc.webhook,
  cdc.webhook_secret, cdc.schema_version in access exclusive mode;

alter table cdc.installation
  add column serves text not null default '0001',
  add column log_pruned xid8 not null default '0';

-- Registrations.
alter table cdc.webhook
  add column tls_profile text check (tls_profile ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
  add column ref text collate "C" check (ref <> ''),
  add column unverified_since timestamptz check (unverified_since is null or state in ('paused', 'removed'));
create unique index webhook_ref on cdc.webhook (company, ref) where state <> 'removed';
alter table cdc.webhook_secret add column scheme text check (scheme in ('v1', 'v1a'));
alter table cdc.subscription set (vacuum_truncate = off);
create or replace function cdc.webhook_changed() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if tg_op = 'UPDATE' then
    new.version := old.version + 1;
    new.xid := pg_current_xact_id();
    if new.state is distinct from old.state then
      new.since := clock_timestamp();
    end if;
  end if;
  if pg_notification_queue_usage() < 0.5 then
    perform pg_notify('cdc', '');
  end if;
  return new;
end
$$;

-- Retries: a replayed delivery has no body any more.
alter table cdc.retry drop constraint retry_check;
alter table cdc.retry set (
  autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000,
  autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 20000
);
create index if not exists retry_created on cdc.retry (webhook_id, event, key, xid) where action <> 'm';
create index if not exists retry_list on cdc.retry (webhook_id, xid, id);
create index if not exists dead_list on cdc.dead (webhook_id, xid, id);
alter table cdc.dead set (
  vacuum_truncate = off,
  autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
  autovacuum_vacuum_cost_delay = 0,
  autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000,
  autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 20000
);

-- Analyzes those of cdc.queue, cdc.retry and cdc.dead that hold many rows and count as empty for the planner.
--
-- They are empty most of the time, and their pages stay (vacuum_truncate), so VACUUM and ANALYZE note that these pages
-- hold nothing. What comes then all at once does not exist for the planner: to it all plans cost the same, and recording
-- 1,000 deliveries of 50,000 that wait compares each with each.
-- Skips a table that is locked, as by VACUUM, instead of waiting. Called before many are read, recorded or replayed.
create function cdc.refresh_statistics() returns bool
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '10ms'
set enable_seqscan = off
as $$
declare
  ours regclass;
  many bool;
  well bool := true;
begin
  foreach ours in array array['cdc.queue', 'cdc.retry', 'cdc.dead']::regclass[] loop
    begin
      -- As the planner estimates it; where nothing was ever noted, it looks at the size.
      if (select c.relpages > 0
                 and c.reltuples / c.relpages * (pg_relation_size(c.oid) / current_setting('block_size')::int) < 500
            from pg_class c where c.oid = ours) then
        execute format('select exists (select from %s offset 999)', ours) into many;
        if many then
          -- The number of rows is what is missing; the values of one column are the fewest to work on.
          execute format('analyze %s (webhook_id)', ours);
        end if;
      end if;
    exception
      when lock_not_available then
        null;
      when others then  -- a full disk, an index that is broken
        raise warning 'cannot analyze %: %', ours, sqlerrm;
        well := false;
    end;
  end loop;
  return well;
end
$$;
revoke all on function cdc.refresh_statistics() from public;

-- The log. (Its new column: done before.)
drop index cdc.attempt_at;
create index attempt_at on cdc.attempt using brin (at) with (pages_per_range = 32, autosummarize);
create index attempt_uid on cdc.attempt using brin (uid pg_catalog.uuid_bloom_ops(n_distinct_per_range = 3000, false_positive_rate = 0.001))
  with (pages_per_range = 64, autosummarize);
create index attempt_ended on cdc.attempt (at) where outcome in ('expired', 'dropped');
create index attempt_list on cdc.attempt (webhook_id, xid, delivery) where outcome <> 'failed';
do $names$
declare
  had text;
begin
  -- Made beforehand under another name, since the old one was taken.
  for slot in 0..31 loop
    had := format('attempt_%s_at_new', lpad(slot::text, 2, '0'));
    if to_regclass('cdc.' || had) is not null then
      execute format('alter index cdc.%I rename to %I', had, replace(had, '_new', '_idx'));
    end if;
  end loop;
end
$names$;

-- Publications: rows of a published table could not be deleted without. (cdc.queue: done before.)
do $identity$
declare
  ours regclass;
begin
  for ours in
    select oid from pg_class
     where relnamespace = 'cdc'::regnamespace and relreplident <> 'f'
       and (relname = 'queue' or relname = 'attempt' or relname ~ '^attempt_[0-9]{2}$' and relkind = 'r')
  loop
    execute format('alter table %s replica identity full', ours);
  end loop;
end
$identity$;

-- The queue.
-- References of a row as the daemon's queries bring them: what is too long for its memory, or no list,
-- stays where it is, and 'unfit' comes in its place (cdc/daemon/store/session.py). First by the size as they are
-- stored, then, if that is little, unpacked. The row's own key comes last.
-- Its body is parsed here, so no search_path counts for it; a function with one of its own would not
-- become part of the query that calls it.
create function cdc.brought(refs text[], uid uuid) returns text[]
language sql stable parallel safe
return case
  when pg_column_size(refs) > 4000 or cardinality(refs) > 1000 then array['unfit', uid::text]
  when octet_length(array_to_string(refs, '')) > 4000 or array_ndims(refs) > 1
       or octet_length(refs[array_upper(refs, 1)]) > 2000 then array['unfit', uid::text]
  else refs
end;
revoke all on function cdc.brought(text[], uuid) from public;

-- What a payload has of a row's values, for a webhook that includes some: an object whose members come to the end of
-- its `data`. Text for text as it is sent, but for characters beyond ASCII.
-- names: fields of the mapping, in its order  vals: their values as JSON, empty: too long, or not known
-- wanted: those included  bits: what was changed (cdc/capture/changed_mask.py)
-- In the mapping's order, a value that no longer fits is left out, and named: together they take 4,000 bytes.
-- Called by the capture functions.
create function cdc.included(names text[], vals text[], wanted text[], bits bigint) returns json
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
  name text;
  room int := 4000;
  changed text;
  fields text;
  omitted text;
begin
  for n in 1 .. cardinality(names) loop
    if names[n] = any(wanted) then
      name := to_json(names[n]);
      if bits & (1::bigint << n) <> 0 then
        changed := concat(changed || ', ', name);
      end if;
      if vals[n] = '' or octet_length(vals[n]) > room then
        omitted := concat(omitted || ', ', name);
      else
        room := room - octet_length(vals[n]);
        fields := concat(fields || ', ', name, ': ', vals[n]);
      end if;
    end if;
  end loop;
  return format('{"changed": [%s], "fields": {%s}%s}', changed, fields, ', "omitted": [' || omitted || ']');
end
$$;
revoke all on function cdc.included(text[], text[], text[], bigint) from public;

-- It as the daemon's queries bring it: nothing where it is longer than capture makes it, which a row that capture has
-- not written may hold.
create function cdc.bounded(included json) returns text
language sql stable parallel safe
return case
  when pg_column_size(included) <= 20000 and octet_length(included::text) <= 20000 then included::text
end;
revoke all on function cdc.bounded(json) from public;
alter table cdc.retry add column included json;
alter table cdc.dead add column included json;

-- Lanes.
alter table cdc.lane add column slow_until timestamptz;

-- What could not be resolved.
alter table cdc.unresolved set (vacuum_truncate = off);
-- What to keep of a row when a column that the mapping names is not there any more: nobody can say
-- which of the others it was, so everything that is short, and the columns' numbers, which outlast a
-- renaming (under '', which is no name that a column can have).
-- Called by the capture functions. `line` is json, since jsonb refuses some of what json can hold.
create or replace function cdc.kept(line json, relation oid) returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off  -- names are compared
as $$
  select coalesce((
           select jsonb_object_agg(e.key, e.value)
             -- What json holds and jsonb refuses (no character: \u0000, half a surrogate; a number without
             -- end) is left out: one such value would fail all rows of the statement.
             from json_each(regexp_replace(line::text, E'\\\\u(?!00(0[1-9a-f]|1))[0-9a-f]{4}',
                                           E'\\\\ufffd', 'gi')::json) e
            where json_typeof(e.value) in ('number', 'string')
              and octet_length(e.value::text) <= 200
              and position(E'\\ufffd' in e.value::text) = 0
              and (json_typeof(e.value) = 'string' or e.value::text !~* 'e[-+]?[0-9]{4}')), '{}')
      || jsonb_build_object('', (
           select jsonb_build_object('table', relation::regclass::text, 'oid', relation,
                                     'numbers', jsonb_object_agg(a.attname, a.attnum))
             from pg_attribute a
            where a.attrelid = relation and a.attnum > 0 and not a.attisdropped))
$$;

-- What was kept of a row, under today's names of the columns.
-- Called by the generated cdc_capture.resolve_<resource>(ids).
create or replace function cdc.renamed(own jsonb) returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off  -- names are compared
as $$
  select own || coalesce(
    (select jsonb_object_agg(a.attname, own -> n.name)
       from jsonb_each_text(own -> '' -> 'numbers') n (name, number)
       join pg_attribute a on a.attrelid = (own -> '' ->> 'oid')::oid and a.attnum = n.number::int
      where not a.attisdropped and own ? n.name
        -- Another table has got this number since, in a restored database.
        and a.attrelid::regclass::text = own -> '' ->> 'table'), '{}')
$$;

-- Raises where row-level security may hide rows of a table of ours from who calls, or refuse them: a policy
-- of others that is restrictive applies, or ours is not there (sql/schema/95_policies.sql).
-- Called by the capture functions, within their guards, and only where row_security_active() says so.
create function cdc.unfiltered(relation regclass) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  if not exists (select from pg_policy p
                  where p.polrelid = relation and p.polname = 'grants_decide'
                    and p.polpermissive and p.polcmd = '*' and p.polroles = '{0}'
                    and pg_get_expr(p.polqual, relation) = 'true'
                    and pg_get_expr(p.polwithcheck, relation) = 'true')
     or exists (select from pg_policy p, unnest(p.polroles) held
                 where p.polrelid = relation and not p.polpermissive
                   and (held = 0 or pg_has_role(held, 'usage'))) then
    raise insufficient_privilege
      using message = format('row-level security of %s may hide or refuse rows', relation);
  end if;
end
$$;

-- Tries again to resolve the given rows: calls the generated cdc_capture.resolve_<resource>(ids),
-- some thousands at a time. Rows that somebody else is at just now are left to them.
-- With them those that wait behind them. Called by the daemon. Returns how many were resolved.
-- Never raises for what a row or the suite's schema holds. Locks the rows.
--
-- What it calls reads tables of the suite, as cdc_capture, and so runs what their owner may have hidden
-- there. That can set the session's search_path, beyond the options of the functions around it: it is
-- set right before anything else is named here. For the same reason call this in a session of its own.
create or replace function cdc.resolve(ids bigint[]) returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off  -- plans are made when the table may be empty, and kept by the session
set jit = off
set row_security = on  -- a writer's session that has it off would fail where policies apply
set lock_timeout = '1s'  -- a table of the suite that is locked
as $$
declare
  kind text;
  batch bigint[];
  placed bigint;
  resolved bigint := 0;
  out_of_time boolean := false;
begin
  for kind, batch in
    select mine.resource, array_agg(mine.id)
      from (select locked.id, locked.resource,
                   -- Each third time alone: one that cannot be read must not keep its neighbours here.
                   case when locked.tries % 3 = 2 then locked.id end as alone,
                   row_number() over (partition by locked.resource order by locked.id) / 5000 as part
              from (select u.id, u.resource, u.tries from cdc.unresolved u
                     where u.id = any(ids || array(
                             select later.id from cdc.unresolved asked
                               join cdc.unresolved later
                                 on later.key = asked.key and later.source = asked.source
                                and later.tries < 10
                              where asked.id = any(ids)))
                       for update skip locked) locked) mine
     group by mine.resource, mine.alone, mine.part
     order by min(mine.id)
  loop
    placed := null;
    if to_regprocedure(format('cdc_capture.%I(bigint[])', 'resolve_' || kind)) is null then
      null;  -- no mapping has it (any more): it waits, and is not asked for again and again
    else
      -- Guarded: whatever the tables of one resource do to a session that reads them, the others have
      -- their turn.
      begin
        execute format('select cdc_capture.%I($1)', 'resolve_' || kind) into placed using batch;
      exception
        when query_canceled then
          out_of_time := true;
        when others then
          null;
      end;
    end if;
    perform pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    if placed is null then
      update cdc.unresolved
         set tries = tries + 1,
             retry_at = clock_timestamp() + interval '1 second' * least(3600, 2 ^ least(tries, 12))
       where id = any(batch);
    end if;
    resolved := resolved + coalesce(placed, 0);
    exit when out_of_time;
  end loop;
  return resolved;
end
$$;

-- `cdc serve`.
-- A registration without what is secret in it: `***` instead of the endpoint's user and password, and of
-- the values of headers. What the API and most commands read.
create view cdc.registration as
select id, company, regexp_replace(endpoint, '^(https?://)[^/?#]*@', '\1***@') as endpoint, description,
       state, reason, since, max_concurrency, rate_limit,
       case when headers = '{}' then headers
            else (select jsonb_object_agg(name, '***') from jsonb_object_keys(headers) name) end as headers,
       created_at, version, tls_profile, ref, unverified_since
  from cdc.webhook;

-- Keys of the API. The key itself is shown once, when it is made; kept is a SHA-256 of its secret, which is
-- random and long: no password, so nothing slower is needed.
create table cdc.api_key (
  id           text collate "C" primary key check (id ~ '^[a-z2-7]{12}$'),
  digest       bytea not null check (octet_length(digest) = 32),
  scope        text not null
               check (scope ~ '^(admin|operator|read|company:.{1,200}|webhook:[1-9][0-9]{0,18})$'),
  description  text not null default '',
  created_at   timestamptz not null default clock_timestamp(),
  created_by   text not null,
  expires_at   timestamptz,
  revoked_at   timestamptz,
  last_used_at timestamptz                -- written once a minute at most
);

-- Who changed what: a row in the transaction of each change, without anything secret. Never changed or
-- deleted by us.
create table cdc.audit (
  id         bigint generated always as identity primary key,
  at         timestamptz not null default clock_timestamp(),
  account    text not null default session_user,   -- of the database
  actor      text not null,                -- key:<id>, or cli:<user>@<host>
  source     text not null default '',     -- the client's address
  request    text not null default '',     -- X-Request-Id of the API's answer
  action     text not null,                -- such as webhook.update
  company    text collate "C",
  webhook_id bigint,
  before     jsonb,
  after      jsonb
);
create index audit_company on cdc.audit (company, id);
create index audit_webhook on cdc.audit (webhook_id, id);

-- Answers to requests with an Idempotency-Key, for 24 hours: a repeat gets the same. The answer is encrypted
-- with a key made of the API key's secret, which only its holder has.
create table cdc.idempotency (
  key_id     text collate "C" not null,     -- of the API key; of a form of the console, session:<id>
  name       text collate "C" not null,     -- the Idempotency-Key
  route      text collate "C" not null,
  digest     bytea not null,                -- of the request's path and body
  status     smallint,
  answer     bytea,
  created_at timestamptz not null default clock_timestamp(),
  primary key (key_id, name, route)
);
create index idempotency_age on cdc.idempotency (created_at);

-- What takes longer than a request: carried out by any process of `cdc serve`, in steps. Its worker holds an
-- advisory lock, so a task whose process ended is taken by another.
create table cdc.task (
  id         uuid primary key default gen_random_uuid(),
  kind       text not null check (kind in ('replay', 'test')),
  state      text not null default 'waiting'
             check (state in ('waiting', 'running', 'done', 'cancelled', 'failed')),
  actor      text not null,
  company    text collate "C",              -- null: of several companies
  webhook_id bigint,
  request    jsonb not null,
  total      bigint,
  done       bigint not null default 0,
  changed    bigint not null default 0,
  error      text,
  created_at timestamptz not null default clock_timestamp(),
  ended_at   timestamptz,
  result     jsonb                          -- of a test that was sent
);
create index task_open on cdc.task (created_at) where state in ('waiting', 'running');
create index task_test on cdc.task (webhook_id, created_at) where kind = 'test';

-- People who are signed in: to the console, with a key or by OpenID Connect, or to the portal, by a link. Of
-- the session's secret, which is in their cookie, a SHA-256 is kept. Signing out deletes the row. A link that
-- waits to be opened is such a row, too; opening it replaces the row.
create table cdc.session (
  id         text collate "C" primary key check (id ~ '^[a-z2-7]{12}$'),
  digest     bytea not null check (octet_length(digest) = 32),
  key_id     text collate "C" references cdc.api_key on delete cascade,
  created_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz not null,
  person     text,  -- of the OpenID Connect provider, or the portal's; null: signed in with the key
  scope      text check (scope in ('admin', 'operator', 'read') or scope like 'company:_%'),  -- of a person
  may        text[],  -- of the portal, beside looking: test, replay, manage; null: what the scope allows
  is_link    boolean not null default false,
  check (num_nonnulls(key_id, person) = 1 and num_nonnulls(key_id, scope) = 1)
);
create index session_key on cdc.session (key_id);

-- Notices: when a webhook needs attention, and when it no longer does.
--
-- Written by the daemon that owns the webhook's shard, once a minute and only where something has begun or
-- ended. Deleted after CDC_LOG_DAYS, but for the newest of each kind of a webhook: a state that lasts
-- longer is not reported again.
create table cdc.notice (
  id          bigint generated always as identity primary key,
  at          timestamptz not null default clock_timestamp(),
  kind        text not null
              check (kind in ('failing', 'suspending', 'suspended', 'recovered', 'dead', 'expiring')),
  webhook_id  bigint not null,
  company     text collate "C" not null,
  event       text collate "C",             -- of the delivery that the cause is of
  since       timestamptz not null,         -- when it began; of recovered: what is over now
  cause       text not null,                -- such as 'status 503' (cdc/causes); '' where there is none
  sentence    text not null,
  unique (webhook_id, kind, since)
);
create index notice_company on cdc.notice (company, id);

-- The list of what was owed to a webhook, each delivery once, with its latest state: a page, in the order of the
-- transactions that made the changes, within one of the numbers.
--
-- Only transactions below the snapshot's xmin: numbers commit out of order, and nothing else is final. A delivery that
-- was replayed keeps transaction and number, so it keeps its place.
-- A function, because its plans read all partitions of the log: they are made once in a session, not for each page.
-- What it costs is mostly to begin with all partitions, so it reads them once, and a second time only while a
-- writer is open.
--
-- $1 webhook  $2 transaction and $3 number of the place to continue behind  $4 how many deliveries
-- $5 how many rows of the queue are looked at; where more wait for the webhook, the page may end at what was seen
-- $6 partitions of the log: from, to, and again from, to (a list cannot be pruned by)  $7 whether bodies are wanted
-- Reads cdc.queue by queue_lane and queue_xid, the others by retry_list, dead_list and attempt_list, from the place on:
-- its cost does not depend on how much is kept. Locks nothing.
-- Returns for each delivery a row, or one without any: what the database is, the highest transaction that pruning has
-- removed, the frontier (xmin), up to which place the page has looked, and the moment until which all that was
-- committed is below the frontier.
-- Called by `cdc serve`.
create function cdc.owed(bigint, xid8, bigint, int, int, smallint[], bool)
returns table (
  identity text, pruned bigint, xmin bigint, reach_xid bigint, reach_id bigint, final_until timestamptz,
  xid bigint, id bigint, uid text, layout int, action "char", "time" timestamptz, refs text[], state text, tries int,
  status smallint, error text, due_at timestamptz, body bytea
)
language plpgsql stable rows 50
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off  -- the plan may be made while the tables are empty
set enable_bitmapscan = off
set enable_sort = off  -- of all that lies behind the place; an incremental one ends with the page
set jit = off
as $$
#variable_conflict use_column
declare
  seen constant pg_snapshot := pg_current_snapshot();
  frontier constant xid8 := pg_snapshot_xmin(seen);
  behind timestamptz;  -- the first change of what is visible, and behind the frontier
begin
  if frontier < pg_snapshot_xmax(seen) then
    with lane as materialized (
      select * from cdc.queue q where q.webhook_id = $1 order by q.id limit $5
    )
    select min("time") into behind
      from (select q."time" from lane q where q.xid >= frontier
            union all
            select q."time"
              from (select * from cdc.queue q
                     where (select count(*) from lane) >= $5 and q.xid >= frontier
                     order by q.xid limit $5) q
             where q.webhook_id = $1
            union all
            (select r."time" from cdc.retry r
              where r.webhook_id = $1 and r.xid >= frontier order by r.xid, r.id limit $5)
            union all
            (select k."time" from cdc.dead k
              where k.webhook_id = $1 and k.xid >= frontier order by k.xid, k.id limit $5)
            union all
            (select a."time" from cdc.attempt a
              where a.webhook_id = $1 and a.outcome <> 'failed' and a.xid >= frontier
              order by a.xid, a.delivery limit $5)) b;
  end if;
  return query
  with here as materialized (
    select frontier as xmin,
           (select w.state in ('paused', 'suspended') from cdc.webhook w where w.id = $1) as held
  ), lane as materialized (
    -- All that is queued for the webhook, unless it is much.
    select * from cdc.queue q where q.webhook_id = $1 order by q.id limit $5
  ), crowd as materialized (
    -- If it is: what is queued for any webhook, by transaction.
    select * from cdc.queue q
     where (select count(*) from lane) >= $5
       and q.xid >= $2 and q.xid < (select xmin from here)
     order by q.xid limit $5
  ), single as materialized (
    -- The crowd may be of one transaction that wrote more than is looked at.
    select min(xid) as xid from crowd having count(*) >= $5 and min(xid) = max(xid)
  ), mass as materialized (
    select * from cdc.queue q
     where exists (select from single) and q.webhook_id = $1
       and q.id > case (select xid from single) when $2 then $3 else -9223372036854775808 end
     order by q.id limit $5
  ), reach as materialized (
    select case when (select count(*) from lane) < $5 or (select count(*) from crowd) < $5 then xmin
                else (select max(xid) from crowd) end as xid,
           case when not exists (select from single) then -9223372036854775808
                when (select count(*) from mass) < $5 then 9223372036854775807
                else (select max(id) from mass) end as id
      from here
  ), page as (
    select distinct on (d.xid, d.id) d.*
      from (select q.xid, q.id, q.uid, q.layout, q.action, q."time", q.refs,
                   case when (select held from here) then 'held' else 'queued' end as state, 0 as tries,
                   null::smallint as status, null::text as error, null::timestamptz as due_at, null::bytea as body,
                   null::timestamptz as ended
              from (select * from lane union all select * from crowd union all select * from mass) q
             where q.webhook_id = $1
               and (q.xid, q.id) > ($2, $3)
               and (q.xid, q.id) <= ((select xid from reach), (select id from reach))
            union all
            (select r.xid, r.id, r.uid, r.layout, r.action, r."time", r.refs,
                    case when (select held from here) then 'held'
                         when r.due_at is null then 'parked' else 'retrying' end,
                    r.tries, r.last_status, r.last_error, r.due_at, case when $7 then r.body end, null
               from cdc.retry r
              where r.webhook_id = $1
                and (r.xid, r.id) > ($2, $3)
                and (r.xid, r.id) <= ((select xid from reach), (select id from reach))
              order by r.xid, r.id limit $4)
            union all
            (select k.xid, k.id, k.uid, k.layout, k.action, k."time", k.refs, 'dead', k.tries, k.last_status,
                    k.last_error, null, case when $7 then k.body end, null
               from cdc.dead k
              where k.webhook_id = $1
                and (k.xid, k.id) > ($2, $3)
                and (k.xid, k.id) <= ((select xid from reach), (select id from reach))
              order by k.xid, k.id limit $4)
            union all
            -- Sorted within: PostgreSQL 15 sorts for DISTINCT all there is.
            (select distinct on (a.xid, a.delivery)
                    a.xid, a.delivery, a.uid, a.layout, a.action, a."time", a.refs, a.outcome, a.try, a.status, a.error,
                    null, null, a.at
               from (select * from cdc.attempt a
                      where (a.slot between $6[1] and $6[2] or a.slot between $6[3] and $6[4])
                        and a.webhook_id = $1 and a.outcome <> 'failed'
                        and (a.xid, a.delivery) > ($2, $3)
                        and (a.xid, a.delivery) <= ((select xid from reach), (select id from reach))
                      order by a.xid, a.delivery, a.at desc) a
              order by a.xid, a.delivery, a.at desc limit $4)) d
     -- Where it waits counts for more than how it ended before; of ends, the last.
     order by d.xid, d.id, d.ended desc nulls first
     limit $4
  )
  select concat_ws('/', c.system_identifier, b.oid, left(pg_walfile_name(pg_current_wal_lsn()), 8)),
         i.log_pruned::text::bigint, here.xmin::text::bigint, reach.xid::text::bigint, reach.id,
         least(statement_timestamp(), behind),
         null, null, null, null, null, null, null, null, null, null, null, null, null
    from here cross join reach cross join cdc.installation i cross join pg_control_system() c
    join pg_database b on b.datname = current_database()
  union all
  select null, null, null, null, null, null,
         page.xid::text::bigint, page.id, page.uid::text, page.layout, page.action, page."time",
         cdc.brought(page.refs, page.uid), page.state, page.tries, page.status, page.error, page.due_at, page.body
    from page;
end
$$;
revoke all on function cdc.owed(bigint, xid8, bigint, int, int, smallint[], bool) from public;
-- Contacts: addresses to which notices about a company's webhooks are mailed, once they are confirmed.
--
-- Written by `cdc contact` and the daemons that send mail. A daemon claims a contact for 5 minutes, so that no
-- other sends the same; if it is killed in between, the mail may come twice.
create table cdc.contact (
  id            bigint generated always as identity primary key,
  company       text collate "C" not null check (company <> ''),
  email         text collate "C" not null
                check (email ~ '^[A-Za-z0-9.!#$%&*+/=?^_{|}~-]+@[A-Za-z0-9-]+([.][A-Za-z0-9-]+)*$' and length(email) <= 254),
  code          text collate "C" not null unique,  -- in its mails: confirms it, and stops them
  created_at    timestamptz not null default clock_timestamp(),
  confirmed_at  timestamptz,                 -- it gets notices from then on; null: it is asked first
  invited_at    timestamptz,                 -- when the mail with the code was sent
  due_at        timestamptz not null default clock_timestamp(),  -- no mail before
  claimed_until timestamptz,
  tries         int not null default 0,      -- since the last mail
  last_error    text,
  unique (company, email)
);

-- Notices that wait to be mailed.
create table cdc.mail (
  contact_id bigint not null references cdc.contact on delete cascade,
  notice_id  bigint not null references cdc.notice on delete cascade,
  primary key (contact_id, notice_id)
);
create index mail_notice on cdc.mail (notice_id);

-- Webhooks of the system, which belong to the company '', get each notice as a delivery of this layout. The last
-- reference is what order is kept for.
insert into cdc.layout (id, event, fields) values
  (2147483647, 'webhook_notice', '{base,company,notice,kind,since,cause,event,sentence,webhook}');

-- Backfills: rows of the suite that were there before a webhook was, sent to it as if they had changed now.
--
-- Written by `cdc backfill` and the API; carried out by the daemon that owns the webhook's shard: it reads a
-- page, and queues it in the statement that moves `place`, so that each row comes once.
create table cdc.backfill (
  id          bigint generated always as identity primary key,
  webhook_id  bigint not null references cdc.webhook on delete cascade,
  event       text collate "C" not null,
  action      "char" not null check (action in ('c', 'm')),
  since       timestamptz,                  -- only rows changed since then
  state       text not null default 'running'
              check (state in ('running', 'paused', 'done', 'cancelled', 'failed')),
  reason      text not null default '',     -- why it is in this state
  place       text[],                       -- of the last row read: the way from the company, and keys on it
  looked      bigint not null default 0,    -- rows read
  queued      bigint not null default 0,    -- of them, those that the webhook wants
  actor       text not null,
  created_at  timestamptz not null default clock_timestamp(),
  ended_at    timestamptz
);
create unique index backfill_open on cdc.backfill (webhook_id, event) where state in ('running', 'paused');

-- The next rows of a backfill, in the order of their places: references as text, null for those that the
-- webhook does not want (or that are too long: no request could be made of them). The last row of all has no
-- place; one with nothing but a place ends a page before it is full.
-- Called by the daemon. Calls the generated cdc_capture.backfill_<resource>, which reads tables of the suite
-- and so runs what their owner may have hidden there: call it in a session of its own (see cdc.resolve).
create function cdc.read_backfill(job bigint, resource text, most int)
returns table (place text[], layout int, refs text)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
set row_security = on
set lock_timeout = '1s'  -- a table of the suite that is locked
as $$
declare
  wanted record;
begin
  select w.company, b.webhook_id, b.action, b.since, b.place into wanted
    from cdc.backfill b join cdc.webhook w on w.id = b.webhook_id where b.id = job;
  return query execute format(
      'select f.place, f.layout, case when octet_length(f.refs::text) <= 8000 then f.refs::text end'
      '  from cdc_capture.%I($1, $2, $3, $4, $5, $6) f', 'backfill_' || resource)
    using wanted.company, wanted.webhook_id, wanted.action, wanted.since, wanted.place, most;
end
$$;

-- How many rows a backfill would read, and how many of them the webhook wants: as far as `most`, and as two or
-- three seconds go; `complete`: that is all.
-- Called by the command line and `cdc serve`, in a session of its own, as cdc.read_backfill is.
create function cdc.count_backfill(webhook bigint, resource text, action "char", since timestamptz, most int)
returns table (looked int, wanted int, complete bool)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
set row_security = on
set lock_timeout = '1s'
as $$
declare
  company constant text := (select w.company from cdc.webhook w where w.id = webhook);
  began constant timestamptz := clock_timestamp();
  place text[];
  found record;
begin
  looked := 0;
  wanted := 0;
  complete := false;
  while not complete and looked < most and clock_timestamp() < began + interval '2 s' loop
    for found in execute format(
        'select f.place, f.layout is not null as is_row, f.refs is not null as is_wanted'
        '  from cdc_capture.%I($1, $2, $3, $4, $5, 2000) f', 'backfill_' || resource)
      using company, webhook, action, since, place
    loop
      looked := looked + found.is_row::int;
      wanted := wanted + found.is_wanted::int;
      complete := complete or found.place is null;
      place := found.place;
    end loop;
  end loop;
  return next;
end
$$;

-- Names of companies of the suite, where the mapping says which column has them: of these keys (null: of all),
-- and of those whose key or name begins with a prefix; 50 at most. None where capture is not installed.
-- Called by `cdc serve`. Calls the generated cdc_capture.company_names, which reads a table of the suite and so
-- runs what its owner may have hidden there: call it in a session of its own (see cdc.resolve).
create function cdc.company_names(keys text[], prefix text, most int)
returns table (key text, name text)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set jit = off
set row_security = on
set lock_timeout = '1s'  -- a table of the suite that is locked
as $$
begin
  if to_regprocedure('cdc_capture.company_names(text[], text, int)') is not null then
    return query execute 'select f.key, f.name from cdc_capture.company_names($1, $2, $3) f'
      using keys, prefix, least(most, 50);
  end if;
end
$$;

-- What leads on from deleted rows of parents, for the deleted rows below them: a cascade's triggers see a
-- child when its parent is gone. Written and read by the capture functions, by each transaction its own
-- rows alone (late capture: those of the change's transaction). Emptied by the daemon.
create table cdc.gone (
  id      bigint not null default cdc.new_id(),
  xid     xid8 not null default pg_current_xact_id(),
  source  text not null,                    -- the parent's table
  key     text collate "C" not null,
  own     jsonb not null,                   -- its key, and the columns that lead on, by name
  primary key (xid, id)
) with (
  -- Truncating a table's end takes a lock that makes inserts wait.
  vacuum_truncate = off
);
-- The capture functions: a hash, since it takes a key of any length.
create index gone_key on cdc.gone using hash (key);

-- Rights: capture as a role of its own.
grant select (id, xid, source, key, own), insert (source, key, own) on cdc.gone to cdc_capture;
grant insert (id, webhook_id, uid, layout, action, "time", refs, included) on cdc.queue to cdc_capture;
grant select, insert, delete on cdc.unresolved to cdc_capture;
grant update (tries, reason, retry_at) on cdc.unresolved to cdc_capture;
grant select on cdc.subscription, cdc.bell to cdc_capture;
grant select on cdc.queue_id to cdc_capture;
-- Capture reads it by pg_sequence_last_value(), which is null before the first one.
do $$ begin perform setval('cdc.queue_id', last_value) from cdc.queue_id; end $$;
grant update on sequence cdc.queue_id to cdc_admin;
grant insert on cdc.attempt to cdc_admin, cdc_serve;
grant delete on cdc.queue to cdc_admin, cdc_serve;
grant execute on function cdc.kept(json, oid), cdc.renamed(jsonb), cdc.new_id() to cdc_capture;
revoke all on all sequences in schema cdc from public;
revoke all on function cdc.unfiltered(regclass) from public;
grant execute on function cdc.unfiltered(regclass), cdc.included(text[], text[], text[], bigint) to cdc_capture;
grant select (layout) on cdc.attempt to cdc_reader;
grant update (unverified_since) on cdc.webhook to cdc_daemon;
grant select (tls_profile, ref, unverified_since) on cdc.webhook to cdc_reader;
grant execute on function cdc.brought(text[], uuid), cdc.bounded(json), cdc.new_id() to cdc_daemon;
grant execute on function cdc.refresh_statistics() to cdc_daemon, cdc_admin;
grant execute on function cdc.brought(text[], uuid),
  cdc.owed(bigint, xid8, bigint, int, int, smallint[], bool) to cdc_serve;
grant update (log_pruned) on cdc.installation to cdc_daemon;
grant select (id, xid), delete on cdc.gone to cdc_daemon;
-- The API (`cdc serve`): registrations and replays. It writes secrets and can read none, nor what else is secret
-- in a registration: cdc.registration shows it without.
grant select on cdc.schema_version, cdc.installation, cdc.layout, cdc.queue, cdc.attempt, cdc.lane, cdc.shard,
  cdc.bell, cdc.queue_id, cdc.registration to cdc_serve;
grant select (id, company, description, state, reason, since, max_concurrency, rate_limit, created_at,
              version, xid, tls_profile, ref, unverified_since) on cdc.webhook to cdc_serve;
grant insert (company, endpoint, description, state, reason, max_concurrency, rate_limit, headers,
              tls_profile, ref, unverified_since) on cdc.webhook to cdc_serve;
grant update (endpoint, description, state, reason, max_concurrency, rate_limit, headers, version,
              tls_profile, ref, unverified_since) on cdc.webhook to cdc_serve;
grant select (webhook_id, created_at, expires_at, scheme) on cdc.webhook_secret to cdc_serve;
grant insert (webhook_id, secret, expires_at, scheme) on cdc.webhook_secret to cdc_serve;
grant update (expires_at) on cdc.webhook_secret to cdc_serve;
grant delete on cdc.webhook_secret to cdc_serve;
grant select, insert, delete on cdc.subscription to cdc_serve;
grant select, insert, update, delete on cdc.retry, cdc.dead to cdc_serve;
grant select, insert on cdc.api_key, cdc.audit to cdc_serve, cdc_admin;
grant insert (actor, action, company, webhook_id, before, after) on cdc.audit to cdc_daemon;
grant update (revoked_at, last_used_at) on cdc.api_key to cdc_serve, cdc_admin;
grant select, insert, update, delete on cdc.idempotency, cdc.task to cdc_serve;
grant select, insert, delete on cdc.session to cdc_serve;
grant insert, select (expires_at) on cdc.session to cdc_admin;
grant select on cdc.registration to cdc_admin;
revoke all on function cdc.read_backfill(bigint, text, int) from public;
revoke all on function cdc.count_backfill(bigint, text, "char", timestamptz, int) from public;
revoke all on function cdc.company_names(text[], text, int) from public;
grant execute on function cdc.company_names(text[], text, int), cdc.refresh_statistics() to cdc_serve;
-- Backfills: started by people and the API, carried out by the daemon.
grant select, insert, update on cdc.backfill to cdc_admin, cdc_serve;
grant select, update, delete on cdc.backfill to cdc_daemon;
grant select on cdc.backfill to cdc_reader;
grant execute on function cdc.read_backfill(bigint, text, int) to cdc_daemon;
grant execute on function cdc.count_backfill(bigint, text, "char", timestamptz, int) to cdc_admin, cdc_serve;
-- Tests of webhooks: asked for by the API, sent by the daemon.
grant select (id, kind, state, webhook_id, request, created_at), update (state, result, error, ended_at)
  on cdc.task to cdc_daemon;
-- What was kept of a row of the suite (own) may be any short text of it: capture reads it, nobody else.
revoke select on cdc.unresolved from cdc_daemon, cdc_admin, cdc_reader;
grant select (id, xid, resource, source, key, action, "time", reason, tries, retry_at)
  on cdc.unresolved to cdc_daemon, cdc_admin, cdc_reader, cdc_serve;
grant select on cdc.notice to cdc_admin, cdc_reader, cdc_serve;
grant select, insert, delete on cdc.notice to cdc_daemon;
grant select on cdc.contact to cdc_daemon, cdc_admin, cdc_serve;
grant update (invited_at, due_at, claimed_until, tries, last_error) on cdc.contact to cdc_daemon;
grant select, insert, delete on cdc.mail to cdc_daemon;
grant insert, delete on cdc.contact to cdc_admin, cdc_serve;
grant update (confirmed_at) on cdc.contact to cdc_admin, cdc_serve;

-- Row-level security that others enable changes nothing: the grants alone decide.
do $policies$
declare
  ours regclass;
begin
  for ours in
    select c.oid from pg_class c
     where c.relnamespace = 'cdc'::regnamespace and c.relkind in ('r', 'p')
       and not exists (select from pg_policy p where p.polrelid = c.oid and p.polname = 'grants_decide')
     order by c.relname
  loop
    execute format('create policy grants_decide on %s using (true) with check (true)', ours);
  end loop;
end
$policies$;
