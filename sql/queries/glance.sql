-- look, the plain case: the few rows that were not visible at the last look. A ring is nearly always about
-- one row, and this costs a third of look.sql, of which there are two to four a second while rings come.
--
-- $1 xmax of the last snapshot   $2 ids of transactions running then   $3 how many rows at most: when as many
--    come, there may be more, and nothing is known
-- Reads cdc.queue by queue_xid, of all shards (what others' webhooks get counts for the doorbell), and
-- cdc.bell. Locks nothing. The answer also counts as the ping that keeps this session, and its shards, alive.
-- Returns one row with the snapshot and whether the doorbell is armed, and one for each row of the queue.
select pg_current_snapshot()::text as snapshot,
       b.last_value > extract(epoch from clock_timestamp()) * 1000000 as armed,
       null::bigint as webhook_id, null::bigint as id, null::xid8 as xid, null::uuid as uid,
       null::int as layout, null::"char" as action, null::timestamptz as "time", null::text[] as refs,
       null::text as included
  from cdc.bell b
union all
(select null, null, q.webhook_id, q.id, q.xid, q.uid, q.layout, q.action, q."time",
        cdc.brought(q.refs, q.uid), cdc.bounded(q.included)
   from cdc.queue q
  where (q.xid >= $1 and q.xid < pg_snapshot_xmax(pg_current_snapshot()))
     or q.xid = any(array(select x from unnest($2::xid8[]) x
                           where pg_visible_in_snapshot(x, pg_current_snapshot())))
  limit $3)
