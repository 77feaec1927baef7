-- Changes whose company could not be found when they were made.
--
-- Written by the capture functions; turns health red while rows stay. Resolved by the daemon, under the
-- id reserved here. Reasons:
--  * a parent row did not exist yet (deferred foreign keys), or was not visible to the writer;
--  * a table that capture reads was locked, by a migration of the suite's;
--  * an earlier change of the same row waits here;
--  * the suite's schema changed under the mapping: captured once that is mended (`cdc doctor` shows
--    what is left).
create table cdc.unresolved (
  id        bigint not null default cdc.new_id(),
  xid       xid8 not null default pg_current_xact_id(),
  resource  text not null,                  -- name in the mapping, e.g. rating
  source    text not null,                  -- the table
  key       text collate "C",               -- null when even the key could not be read
  action    "char" not null,
  "time"    timestamptz not null,
  own       jsonb not null default '{}',    -- the row's own key and parents' keys, by column
  reason    text not null,
  tries     int not null default 0,
  retry_at  timestamptz not null default clock_timestamp(),
  -- With the transaction: no writer may fail over an id that comes again.
  primary key (id, xid)
) with (
  -- Truncating a table's end takes a lock that makes inserts wait.
  vacuum_truncate = off
);
-- The capture functions: does an earlier change of a row wait here? A hash, since it takes a key of any
-- length. (BLOCKING_TRIES in cdc/capture/parent_lookup.py says the same number.)
create index unresolved_row on cdc.unresolved using hash (key) where tries < 10;
-- The daemon: which rows are due for another try.
create index unresolved_due on cdc.unresolved (retry_at);

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

-- What to keep of a row when a column that the mapping names is gone: it is unknown which of the others
-- it was, so everything that is short, and the columns' numbers, which survive a renaming (under '',
-- which cannot be a column's name).
-- Called by the capture functions. `line` is json, since jsonb refuses some of what json can hold.
create function cdc.kept(line json, relation oid) returns jsonb
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
create function cdc.renamed(own jsonb) returns jsonb
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
-- some thousands at a time. Rows that another session has locked are left out.
-- With them those that wait behind them. Called by the daemon. Returns how many were resolved.
-- Never raises for what a row or the suite's schema holds. Locks the rows.
--
-- What it calls reads tables of the suite, as cdc_capture, and so runs what their owner may have hidden
-- there. That can set the session's search_path, beyond the options of the functions around it: it is
-- set right before anything else is named here. For the same reason call this in a session of its own.
create function cdc.resolve(ids bigint[]) returns bigint
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
