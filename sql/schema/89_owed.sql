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
-- Returns one row without a delivery: what the database is, the highest transaction that pruning has removed, the
-- frontier (xmin), up to which place the page has looked, and the moment until which all that was committed is below
-- the frontier; and a row for each delivery, with nothing of that.
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
