-- backfill: those that run for webhooks of some shards, and how many of their rows wait. Those of removed
-- webhooks, too, whatever their state, to be cancelled.
--
-- $1 shards  $2 rows counted of one, at most
-- Backfilled rows have numbers below 0 (backfill_queue.sql).
-- Reads cdc.backfill by backfill_open, cdc.queue by queue_lane, cdc.retry by its key.
select b.id, b.webhook_id, b.event, b.place, w.state,
       (select count(*) from (select from cdc.queue q
                               where q.webhook_id = b.webhook_id and q.id < 0 limit $2) q)
     + (select count(*) from (select from cdc.retry r
                               where r.webhook_id = b.webhook_id and r.id < 0 limit $2) r) as waiting
  from cdc.backfill b
  join cdc.webhook w on w.id = b.webhook_id
 where b.state in ('running', 'paused') and (b.state = 'running' or w.state = 'removed')
   and (b.webhook_id % 64)::int = any($1::int[])
 order by b.id
