-- look, in full: what the webhooks of some shards have to do. At start, after every reconnection (a
-- snapshot dies with its connection) and at take-over of a shard; some webhooks at a time.
--
-- $1 shards  $2 after this webhook  $3 how many webhooks
-- Returns all of these, in order: the lowest waiting id (null: none), and whether there is anything else
-- to do: rows in the retry table, or a registration that its last owner could not use.
-- Probes queue_lane and the retry table's key once per webhook; does not count, whatever waits.
select w.id, first.id as lowest,
       exists (select from cdc.retry r where r.webhook_id = w.id)
         or coalesce(starts_with(l.last_error, 'cannot be used: '), false) as more
  from (select x.id from cdc.webhook x
         where x.id > $2 and (x.id % 64)::int = any($1::int[])
         order by x.id limit $3) w
  left join cdc.lane l on l.webhook_id = w.id
  left join lateral (select q.id from cdc.queue q
                      where q.webhook_id = w.id order by q.id limit 1) first on true
 order by w.id
