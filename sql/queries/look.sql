-- look: which webhooks have rows that were not visible at the last look? Where they are few, it brings
-- them at once: a change on an idle system needs no second question.
--
-- Ids do not commit in order, so `id > last` would lose rows. What a snapshot did not show is exactly
-- the transactions at or beyond its xmax, and those that were running then; the client parses both
-- out of the last look's snapshot (functions of the rows would make it a sequential scan). Of those,
-- only transactions that have ended since are looked for: of one that is still open there is nothing to
-- see, and every look would walk over all that it has written so far.
--
-- $1 xmax of the last snapshot   $2 ids of transactions running then
-- $3 the doorbell: true arms it; false silences it, and wakes daemons that rely on it; null leaves it
-- $4 class of the daemons' advisory locks, to see who owns what, how many writers wait for each other's NOTIFY,
--    and whether tests of webhooks wait; null: not this time (pg_locks reads the locks of the whole server)
-- $5 shards whose rows to bring, and whose tests to look for   $6 how many at most: when as many come, there may be more
-- $7, $8 as $1 and $2, of the last look: the glances since (glance.sql) have not read registrations
-- Reads cdc.queue and cdc.webhook by index on xid, cdc.unresolved by unresolved_due (a condition on
-- clock_timestamp() would not use it), cdc.task by task_open; sets cdc.bell. Locks nothing.
-- The answer also counts as the ping that keeps this session, and its shards, alive.
-- Returns one row about everything, and one for each row of the queue that it brings.
with since as materialized (
  select pg_snapshot_xmax(pg_current_snapshot()) as xmax,
         array(select x from unnest($2::xid8[]) x
                where pg_visible_in_snapshot(x, pg_current_snapshot())) as ended
), locks as materialized (
  select l.pid, l.objid, l.locktype from pg_locks l
   where $4::oid is not null
     and (l.locktype = 'advisory' and l.classid = $4 and l.objsubid = 2 and l.granted
          and l.database = (select d.oid from pg_database d where d.datname = current_database())
          -- What a transaction that has used NOTIFY holds from before its commit to after it.
          or l.locktype = 'object' and l.classid = 'pg_database'::regclass and l.objid = 0 and not l.granted)
), held as materialized (
  select l.pid, l.objid from locks l where l.locktype = 'advisory'
)
select pg_current_snapshot()::text as snapshot,
       news.webhooks,
       news.lowest,
       news.highest,
       touched.webhooks as touched,
       bell.armed as was_armed,
       -- A full notification queue would make writers' commits fail.
       case when $3::bool is null or pg_notification_queue_usage() >= 0.25 then null
            when $3 then
              setval('cdc.bell', (extract(epoch from clock_timestamp()) * 1000000)::bigint + 3000000)
            else (select setval('cdc.bell', 1) from pg_notify('cdc', ''))
       end as bell,
       exists (select from cdc.unresolved u where u.retry_at <= statement_timestamp()) as unresolved,
       $4::oid is not null and exists (
               select from cdc.task t
                where t.state = 'waiting' and t.kind = 'test'
                  and (t.webhook_id % 64)::int = any($5::int[])) as trials,
       fleet.daemons,
       fleet.owned,
       (select count(*) from locks l where l.locktype = 'object') as waiting,
       null::bigint as webhook_id, null::bigint as id, null::xid8 as xid, null::uuid as uid,
       null::int as layout, null::"char" as action, null::timestamptz as "time", null::text[] as refs,
       null::text as included
  from (select coalesce(array_agg(n.webhook_id), '{}') as webhooks,
               coalesce(array_agg(n.lowest), '{}') as lowest,
               coalesce(array_agg(n.highest), '{}') as highest
          from (select q.webhook_id, min(q.id) as lowest, max(q.id) as highest
                  from cdc.queue q
                 where q.xid >= $1 and q.xid < (select xmax from since)
                    or q.xid = any((select ended from since)::xid8[])
                 group by q.webhook_id) n) news,
       (select coalesce(array_agg(w.id), '{}') as webhooks
          from cdc.webhook w
         where w.xid >= $7 or w.xid = any($8)) touched,
       -- Each daemon holds lock 64 of the class, shared, and that of each shard it owns. Any account
       -- can take such a lock; a daemon's may take over shards (as a member of cdc_daemon, or as one
       -- that has installed), and no other is left a share.
       (select count(*) filter (where l.objid = 64) as daemons,
               coalesce(array_agg(l.objid::int) filter (where l.objid < 64), '{}') as owned
          from held l
         where l.pid in (select d.pid from (select distinct pid from held) d,
                                pg_stat_get_activity(d.pid) a
                          where pg_has_role(a.usesysid, 'cdc_daemon', 'member')
                             or has_table_privilege(a.usesysid, 'cdc.shard', 'update'))) fleet,
       -- Read here, before it is set above.
       (select b.last_value > extract(epoch from clock_timestamp()) * 1000000 as armed
          from cdc.bell b) bell
union all
(select null, null, null, null, null, null, null, null, null, null, null, null,
        q.webhook_id, q.id, q.xid, q.uid, q.layout, q.action, q."time",
        cdc.brought(q.refs, q.uid), cdc.bounded(q.included)
   from cdc.queue q
  where (q.xid >= $1 and q.xid < (select xmax from since)
         or q.xid = any((select ended from since)::xid8[]))
    and (q.webhook_id % 64)::int = any($5::int[])
  limit $6)
