-- Deliveries that failed and wait for their time, and what waits behind them.
--
-- Written by the daemon that owns the webhook's shard (settle), and by replays.
-- A row with due_at is retried then; one without is parked behind the retried one of its resource. The
-- first of a resource (by id; created first within a transaction) always has one, or is about to.
create table cdc.retry (
  webhook_id  bigint not null,
  id          bigint not null,
  uid         uuid not null,
  xid         xid8 not null,
  layout      int not null,
  action      "char" not null,
  "time"      timestamptz not null,
  refs        text[] not null,
  event       text collate "C" not null,
  key         text collate "C" not null,
  body        bytea,                        -- the bytes to send; null: to be made (never tried, or replayed)
  attempts    smallint not null default 0,  -- tries that used up the budget
  tries       int not null default 0,       -- all tries
  due_at      timestamptz,                  -- null: parked
  moved_at    timestamptz not null default clock_timestamp(),
  last_status smallint,
  last_error  text,
  included    json,                         -- as in cdc.queue
  primary key (webhook_id, id, uid)
) with (
  vacuum_truncate = off,
  autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
  autovacuum_vacuum_cost_delay = 0,
  autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000,
  autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 20000
);
create index retry_due on cdc.retry (webhook_id, due_at) where due_at is not null;
create index retry_resource on cdc.retry (webhook_id, event, key, id);
-- promote: created goes before modified within a transaction, unless the row was deleted in between.
create index retry_created on cdc.retry (webhook_id, event, key, xid) where action <> 'm';
-- The list of what was owed (89_owed.sql); as those of cdc.dead and cdc.attempt.
create index retry_list on cdc.retry (webhook_id, xid, id);

-- Deliveries whose budget is used up. Kept for a time, can be replayed.
create table cdc.dead (
  webhook_id  bigint not null,
  id          bigint not null,
  uid         uuid not null,
  xid         xid8 not null,
  layout      int not null,
  action      "char" not null,
  "time"      timestamptz not null,
  refs        text[] not null,
  event       text collate "C" not null,
  key         text collate "C" not null,
  body        bytea,
  attempts    smallint not null,
  tries       int not null,
  died_at     timestamptz not null default clock_timestamp(),
  last_status smallint,
  last_error  text,
  included    json,                         -- as in cdc.queue
  primary key (webhook_id, id, uid)
) with (
  vacuum_truncate = off,
  autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
  autovacuum_vacuum_cost_delay = 0,
  autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000,
  autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 20000
);
create index dead_age on cdc.dead (died_at);
create index dead_list on cdc.dead (webhook_id, xid, id);

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
