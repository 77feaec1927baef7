-- settle: a retried delivery is done; the first of its resource that is left is due now, unless it has
-- a time already. First is the lowest id, and within a transaction created goes before modified, unless
-- the row was deleted in between, as in a lane.
--
-- Run with every parking too: a parked delivery finds another to wait behind, or is the first itself.
--
-- $1 webhooks  $2 events  $3 keys. Returns those of which something is left in the retry table, and
-- whether its first was given a time by this.
-- Writes cdc.retry. Reads one row of each by retry_resource, one by retry_created: its cost does not
-- depend on how many are parked.
with first as (
  select lowest.webhook_id, lowest.event, lowest.key,
         case made.action when 'c' then made.id else lowest.id end as id,
         case made.action when 'c' then made.uid else lowest.uid end as uid
    from unnest($1::bigint[], $2::text[], $3::text[]) as resource (webhook_id, event, key)
   cross join lateral (
           select r.* from cdc.retry r
            where r.webhook_id = resource.webhook_id and r.event = resource.event
              and r.key = resource.key
            order by r.id limit 1) lowest
    left join lateral (
           select r.id, r.uid, r.action from cdc.retry r
            where r.webhook_id = lowest.webhook_id and r.event = lowest.event
              and r.key = lowest.key and r.xid = lowest.xid and r.action <> 'm'
            order by r.id limit 1) made on true
), due as (
  update cdc.retry r set due_at = clock_timestamp()
    from first
   where r.webhook_id = first.webhook_id and r.id = first.id and r.uid = first.uid
     and r.due_at is null
  returning r.webhook_id, r.event, r.key
)
select distinct first.webhook_id, first.event, first.key, due.key is not null as promoted
  from first left join due using (webhook_id, event, key)
