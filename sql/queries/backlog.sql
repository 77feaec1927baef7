-- maintenance: how much waits for the webhooks of some shards, and for how long; for people and alarms.
--
-- $1 shards   $2 rows counted of one webhook in one place, at most: beyond, a count means "at least"
-- Walks the indexes from one webhook that has rows to the next, so it costs nothing for those that
-- have none, and at most $2 rows for those that have many. Locks nothing.
--
-- lag: of active webhooks whose lane is closed, what waits in the queue itself: what we owe, whatever
-- receivers do. oldest: of active webhooks, what failed and waits for its next attempt included.
with recursive
queued (webhook_id) as (
  (select q.webhook_id from cdc.queue q order by q.webhook_id limit 1)
  union all
  select (select q.webhook_id from cdc.queue q
           where q.webhook_id > queued.webhook_id order by q.webhook_id limit 1)
    from queued where queued.webhook_id is not null
),
retried (webhook_id) as (
  (select r.webhook_id from cdc.retry r order by r.webhook_id limit 1)
  union all
  select (select r.webhook_id from cdc.retry r
           where r.webhook_id > retried.webhook_id order by r.webhook_id limit 1)
    from retried where retried.webhook_id is not null
),
buried (webhook_id) as (
  (select d.webhook_id from cdc.dead d order by d.webhook_id limit 1)
  union all
  select (select d.webhook_id from cdc.dead d
           where d.webhook_id > buried.webhook_id order by d.webhook_id limit 1)
    from buried where buried.webhook_id is not null
),
waiting as (
  select w.state = 'active' as sends,
         w.state = 'active' and coalesce(l.breaker, 'closed') = 'closed'
           and coalesce(l.slow_until <= clock_timestamp(), true) as free,
         rows.n, 0::bigint as retrying, 0::bigint as parked, rows.oldest
    from queued
    join cdc.webhook w on w.id = queued.webhook_id
    left join cdc.lane l on l.webhook_id = w.id
   cross join lateral (
     select count(*) as n, min(x."time") filter (where isfinite(x."time")) as oldest
       from (select q."time" from cdc.queue q where q.webhook_id = w.id order by q.id limit $2) x
   ) rows
   where (w.id % 64)::int = any($1::int[]) and w.state <> 'removed'
  union all
  select w.state = 'active', false, 0, rows.retrying, rows.parked, rows.oldest
    from retried
    join cdc.webhook w on w.id = retried.webhook_id
   cross join lateral (
     select count(x.due_at) as retrying, count(*) - count(x.due_at) as parked,
            min(x."time") filter (where isfinite(x."time")) as oldest
       from (select r.due_at, r."time" from cdc.retry r
              where r.webhook_id = w.id order by r.id limit $2) x
   ) rows
   where (w.id % 64)::int = any($1::int[]) and w.state <> 'removed'
)
select coalesce(sum(w.n), 0)::bigint as queued,
       coalesce(sum(w.retrying), 0)::bigint as retrying,
       coalesce(sum(w.parked), 0)::bigint as parked,
       coalesce(sum(w.n + w.retrying + w.parked) filter (where not w.sends), 0)::bigint as held,
       (select coalesce(sum(rows.n), 0)::bigint
          from buried
         cross join lateral (
           select count(*) as n
             from (select from cdc.dead d where d.webhook_id = buried.webhook_id limit $2) x) rows
         where (buried.webhook_id % 64)::int = any($1::int[])) as dead,
       (select count(*) from (select from cdc.unresolved limit $2) u) as unresolved,
       coalesce(extract(epoch from clock_timestamp() - min(w.oldest) filter (where w.free)), 0)::float8
         as lag,
       coalesce(extract(epoch from clock_timestamp() - min(w.oldest) filter (where w.sends)), 0)::float8
         as oldest,
       coalesce(extract(epoch from clock_timestamp() - min(w.oldest) filter (where not w.sends)),
                0)::float8 as oldest_held,
       pg_notification_queue_usage()::float8 as notification_queue,
       count(*) as places
  from waiting w
