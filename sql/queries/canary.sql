-- canary: a change that no table of the suite has seen, queued as capture queues one, bell included.
--
-- $1 webhook, a number outside of the registry   $2 webhook-id   $3 layout   $4 references
-- Writes cdc.queue.
with queued as (
  insert into cdc.queue (webhook_id, uid, layout, action, "time", refs)
  values ($1, $2::uuid, $3, 'm', clock_timestamp(), $4::text[])
  returning "time"
)
select case when b.last_value > extract(epoch from q."time") * 1000000 then pg_notify('cdc', '') end
  from queued q, cdc.bell b
