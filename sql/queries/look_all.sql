-- look, in full: the lowest waiting row of each webhook of some shards. At start, after every
-- reconnection (a snapshot dies with its connection) and at take-over of a shard.
--
-- $1 shards. Probes queue_lane once per webhook; does not count, whatever waits.
select w.id, first.id as lowest
  from cdc.webhook w
 cross join lateral (select q.id from cdc.queue q
                      where q.webhook_id = w.id order by q.id limit 1) first
 where (w.id % 64)::int = any($1::int[])
