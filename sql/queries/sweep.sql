-- maintenance: the oldest rows of the queue, for the owner to compare with what it holds.
-- Heals what was not foreseen; it should never find anything.
--
-- $1 shards  $2 seconds: rows older than this
select first.webhook_id, first.id, first.uid
  from cdc.webhook w
 cross join lateral (select q.webhook_id, q.id, q.uid, q."time" from cdc.queue q
                      where q.webhook_id = w.id order by q.id limit 1) first
 where (w.id % 64)::int = any($1::int[])
   and first."time" < clock_timestamp() - $2 * interval '1 second'
