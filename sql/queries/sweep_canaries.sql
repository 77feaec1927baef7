-- care: canaries that nobody waits for any more: their daemon has died, or the shard was handed over.
-- They are nobody's delivery, so they leave no trace in the log.
--
-- $1 shards  $2 seconds: rows older than this
-- Writes cdc.queue, by queue_lane: the canaries' numbers are the highest 64 of all.
delete from cdc.queue q
 where q.webhook_id >= 9223372036854775744 and (q.webhook_id % 64)::int = any($1::int[])
   and q."time" < clock_timestamp() - $2 * interval '1 second'
