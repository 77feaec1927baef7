-- settle, where a lock was in the way: which of these rows does another session hold?
--
-- $1 webhooks  $2 ids  $3 uids. Returns those of them.
-- Reads cdc.queue by queue_lane and cdc.retry by its key; locks, until the statement ends, the rows that
-- are free, and waits for none.
with o as materialized (
  select * from unnest($1::bigint[], $2::bigint[], $3::uuid[]) as o (webhook_id, id, uid)
), queued as materialized (
  select q.webhook_id, q.id, q.uid
    from cdc.queue q join o on q.webhook_id = o.webhook_id and q.id = o.id and q.uid = o.uid
     for update of q skip locked
), retried as materialized (
  select r.webhook_id, r.id, r.uid
    from cdc.retry r join o on r.webhook_id = o.webhook_id and r.id = o.id and r.uid = o.uid
     for update of r skip locked
)
select q.webhook_id, q.id, q.uid
  from o join cdc.queue q on q.webhook_id = o.webhook_id and q.id = o.id and q.uid = o.uid
 where (q.webhook_id, q.id, q.uid) not in (select * from queued)
union all
select r.webhook_id, r.id, r.uid
  from o join cdc.retry r on r.webhook_id = o.webhook_id and r.id = o.id and r.uid = o.uid
 where (r.webhook_id, r.id, r.uid) not in (select * from retried)
