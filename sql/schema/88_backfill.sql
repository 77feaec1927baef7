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
