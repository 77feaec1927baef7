-- settle: deliveries out of the queue that succeeded. The session that removes a row logs it.
--
-- Nearly all that is settled, so it is one statement, and carries the fence (fence.sql) itself.
--
-- $1 webhooks  $2 ids  $3 uids  $4 tries  $5 statuses  $6 milliseconds  $7 excerpts
-- $8 seconds since the attempt ended  $9 shards  $10 the epochs in which we own them
-- Returns the shards that are ours, without those that another session has locked: nothing of them was
-- settled.
-- Writes cdc.queue, cdc.attempt.
with own as materialized (
  select s.id
    from cdc.shard s
    join unnest($9::int[], $10::bigint[]) as own (id, epoch) on own.id = s.id and own.epoch = s.epoch
     for share of s skip locked
), done as (
  delete from cdc.queue q
   using unnest($1::bigint[], $2::bigint[], $3::uuid[], $4::int[], $5::smallint[], $6::real[],
                $7::text[], $8::float8[])
         as o (webhook_id, id, uid, try, status, duration_ms, excerpt, age)
   where q.webhook_id = o.webhook_id and q.id = o.id and q.uid = o.uid
     and (o.webhook_id % 64)::int = any (array(select id from own))
  returning q.*, o.try, o.status, o.duration_ms, o.excerpt,
            clock_timestamp() - o.age * interval '1 second' as at
), logged as (
  insert into cdc.attempt (slot, at, delivery, xid, uid, webhook_id, layout, action, "time", refs,
                           try, outcome, status, duration_ms, excerpt)
  select floor(extract(epoch from at) / 86400)::int % 32, at, id, xid, uid, webhook_id, layout,
         action, "time", refs, try, 'delivered', status, duration_ms, excerpt
    from done
)
select id from own
