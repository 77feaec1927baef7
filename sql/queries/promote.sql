-- settle: a retried delivery is done; the lowest that is parked behind it is due now.
--
-- $1 webhooks  $2 events  $3 keys. Returns for each whether a row of it is being retried now.
-- Writes cdc.retry.
with resource as (
  select * from unnest($1::bigint[], $2::text[], $3::text[]) as r (webhook_id, event, key)
), busy as (
  select distinct webhook_id, event, key
    from cdc.retry join resource using (webhook_id, event, key)
   where due_at is not null
), next as (
  update cdc.retry r
     set due_at = clock_timestamp()
    from (select distinct on (webhook_id, event, key) webhook_id, id, uid
            from (select *, min(id) over (partition by webhook_id, event, key, xid) as first_id
                    from cdc.retry join resource using (webhook_id, event, key)
                   where (webhook_id, event, key) not in (select * from busy)) parked
           -- Within a transaction created goes before modified, as in a lane.
           order by webhook_id, event, key, first_id, action, id) lowest
   where r.webhook_id = lowest.webhook_id and r.id = lowest.id and r.uid = lowest.uid
  returning r.webhook_id, r.event, r.key
)
select webhook_id, event, key from busy
union all
select webhook_id, event, key from next
