-- The queue: deliveries that wait. Append only for writers, emptied by the daemon.
--
-- Written by the capture functions in the transaction that changes a row of the suite, so this table
-- must never make a writer wait: no foreign key, no unique index, no row that is updated.

-- Numbers of the queue: positions in the write-ahead log, which are unique and rise. Each statement
-- that is captured writes a record of its own there, which reserves as many positions as it has bytes.
-- nextval() would change what lastval() says in the session of the suite's writer, and nothing could
-- restore it.
--
-- The log of another server, or of a restored copy, may be behind the rows of the queue. So positions
-- count from cdc.queue_id, which nothing but the daemon's start, `cdc adopt` and `cdc migrate` raises.
create sequence cdc.queue_id;
-- Capture reads it by pg_sequence_last_value(), which is null before the first one.
do $$ begin perform setval('cdc.queue_id', 1); end $$;
create function cdc.new_id() returns bigint
language sql volatile
return (select last_value from cdc.queue_id)
     + (pg_logical_emit_message(false, 'cdc', '.') - '0/0'::pg_lsn)::bigint;

create table cdc.queue (
  id          bigint not null default cdc.new_id(),
  xid         xid8 not null default pg_current_xact_id(),   -- found by snapshot, never by id > last
  webhook_id  bigint not null,
  uid         uuid not null default gen_random_uuid(),      -- webhook-id: same for all attempts
  layout      int not null,                                 -- what refs mean: cdc.layout
  action      "char" not null,                              -- 'c'reated, 'm'odified, 'd'eleted
  "time"      timestamptz not null,                         -- when the change triggered the webhook
  refs        text[] not null,                              -- keys of the row and its parents
  included    json                                          -- members of `data`: cdc.included(); null: none
) with (
  -- Truncating a table's end takes a lock that makes inserts wait.
  vacuum_truncate = off,
  -- Emptied as fast as it fills: vacuum early and without pauses, or the indexes keep dead entries.
  autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000,
  autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000,
  autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 100000,
  autovacuum_vacuum_cost_delay = 0
);
-- Where a publication holds the table (FOR ALL TABLES), rows could not be deleted without. Costs nothing
-- unless wal_level is logical; then each row is written to the WAL a second time when it is deleted.
alter table cdc.queue replica identity full;
-- fetch: the next rows of a lane. Not unique on purpose (see ARCHITECTURE.md, "Identity").
create index queue_lane on cdc.queue (webhook_id, id);
-- look: rows that were not visible before; and the created rows of a transaction (see fetch.sql).
create index queue_xid on cdc.queue (xid, action);

-- The doorbell: armed until this many microseconds of the epoch. A sequence, because it is read alike
-- by every snapshot, blocks no session and leaves no dead versions; unlogged, because after a crash it
-- starts again at 1, which means silent.
create unlogged sequence cdc.bell minvalue 1 start 1;

-- What a capture function read and is about to queue (it reads guarded, into variables, and writes
-- outside the guard: a guarded write would cost a second transaction id).
create type cdc.captured as (source bigint, webhook_id bigint, refs text[]);
create type cdc.unplaced as (key text, own jsonb);

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

-- It as the daemon's queries bring it: nothing where it is longer than capture makes it, which a row that capture has
-- not written may hold.
create function cdc.bounded(included json) returns text
language sql stable parallel safe
return case
  when pg_column_size(included) <= 20000 and octet_length(included::text) <= 20000 then included::text
end;
