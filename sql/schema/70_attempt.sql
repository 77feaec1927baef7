-- The attempt log: one row an attempt, and one for each delivery that ended without one.
--
-- A fixed ring of partitions, one a day (day number modulo 32), made once and emptied by TRUNCATE:
-- dropping partitions would wait for a pg_dump, and make the daemon wait behind it.
-- Written by settle, emptied by the daemon's pruning, read by people.
create table cdc.attempt (
  slot        smallint not null check (slot between 0 and 31),
  at          timestamptz not null,
  delivery    bigint not null,              -- cdc.queue.id
  uid         uuid not null,
  webhook_id  bigint not null,
  layout      int not null,
  action      "char" not null,
  "time"      timestamptz not null,         -- of the change
  refs        text[] not null,
  try         int not null,                 -- 1 for the first
  outcome     text not null
              check (outcome in ('delivered', 'failed', 'dead', 'expired', 'dropped')),
  status      smallint,                     -- HTTP status, null without a complete answer
  error       text,
  detail      text not null default '',
  duration_ms real not null default 0,
  excerpt     text not null default '',
  -- That made the change: a replay keeps its order. The default is for daemons of version 0001, which do
  -- not write it.
  xid         xid8 not null default '0'
) partition by list (slot);

create index attempt_delivery on cdc.attempt (delivery);
create index attempt_at on cdc.attempt using brin (at) with (pages_per_range = 32, autosummarize);
-- The history of a webhook-id. A B-tree on random ids would make settling half as expensive again; these
-- are one filter for each 64 pages, made in the background, and cost it nothing but in the first 64 of a day,
-- where the filter is there from the start: 50 us a row. A page has some 40 rows; PostgreSQL's defaults are filters
-- that let one range in twenty through, which is then read: 15 times as much to find a webhook-id.
create index attempt_uid on cdc.attempt using brin (uid uuid_bloom_ops(n_distinct_per_range = 3000, false_positive_rate = 0.001))
  with (pages_per_range = 64, autosummarize);
-- What ended without reaching its receiver, to count and to replay it.
create index attempt_ended on cdc.attempt (at) where outcome in ('expired', 'dropped');
create index attempt_list on cdc.attempt (webhook_id, xid, delivery) where outcome <> 'failed';

do $ring$
begin
  for slot in 0..31 loop
    execute format('create table cdc.attempt_%s partition of cdc.attempt for values in (%s)'
                   ' with (vacuum_truncate = off)',
                   lpad(slot::text, 2, '0'), slot);
    -- For publications, as that of cdc.queue.
    execute format('alter table cdc.attempt_%s replica identity full', lpad(slot::text, 2, '0'));
  end loop;
end
$ring$;
alter table cdc.attempt replica identity full;
