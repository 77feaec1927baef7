-- settle: later changes of a resource that is being retried wait behind it in the retry table. Left in
-- the queue they would fill the lane's window and stop the whole lane.
--
-- $1 webhooks  $2 ids  $3 uids  $4 events  $5 keys
-- Writes cdc.queue, cdc.retry.
with taken as (
  delete from cdc.queue q
   using unnest($1::bigint[], $2::bigint[], $3::uuid[], $4::text[], $5::text[])
         as o (webhook_id, id, uid, event, key)
   where q.webhook_id = o.webhook_id and q.id = o.id and q.uid = o.uid
  returning q.*, o.event, o.key
)
insert into cdc.retry (webhook_id, id, uid, xid, layout, action, "time", refs, event, key, included)
select webhook_id, id, uid, xid, layout, action, "time", refs, event, key, included
  from taken
on conflict do nothing  -- the same row twice
