-- cancel: deliveries that wait, or are dead, are given up, and logged as dropped. The session that removes a row
-- logs it, so each has one end: what its owner records of an attempt in flight finds no row, and changes nothing.
--
-- $1 webhooks  $2 ids  $3 webhook-ids  $4 detail for the log
-- $5 actor, $6 source and $7 request of the audit
-- Returns webhook, id and webhook-id of each, and event and key of those others may wait behind: to be promoted
-- in the same transaction (promote.sql).
-- Writes cdc.queue by queue_lane, cdc.retry and cdc.dead by their keys, cdc.attempt, cdc.audit, cdc.webhook (which
-- notifies the daemons: the owner forgets what it has in memory, and reads it again). Waits for a row that is being
-- recorded.
with wanted as (
  select * from unnest($1::bigint[], $2::bigint[], $3::uuid[]) as k (webhook_id, id, uid)
), queued as (
  delete from cdc.queue q using wanted k
   where q.webhook_id = k.webhook_id and q.id = k.id and q.uid = k.uid
  returning q.webhook_id, q.id, q.uid, q.xid, q.layout, q.action, q."time", q.refs, 0 as tries,
            null::text as event, null::text as key
), retried as (
  delete from cdc.retry r using wanted k
   where r.webhook_id = k.webhook_id and r.id = k.id and r.uid = k.uid
  returning r.webhook_id, r.id, r.uid, r.xid, r.layout, r.action, r."time", r.refs, r.tries,
            case when r.due_at is not null then r.event end, case when r.due_at is not null then r.key end
), dead as (
  delete from cdc.dead d using wanted k
   where d.webhook_id = k.webhook_id and d.id = k.id and d.uid = k.uid
  returning d.webhook_id, d.id, d.uid, d.xid, d.layout, d.action, d."time", d.refs, d.tries, null, null
), gone as (
  select * from queued union all select * from retried union all select * from dead
), logged as (
  insert into cdc.attempt (slot, at, delivery, xid, uid, webhook_id, layout, action, "time", refs,
                           try, outcome, detail)
  select floor(extract(epoch from clock_timestamp()) / 86400)::int % 32, clock_timestamp(), id, xid,
         uid, webhook_id, layout, action, "time", refs, tries, 'dropped', $4
    from gone
), notified as (
  update cdc.webhook w set version = w.version + 1
   where w.id in (select webhook_id from gone)
), noted as (
  insert into cdc.audit (actor, source, request, action, company, webhook_id, after)
  select $5::text, $6::text, $7::text, 'delivery.cancel', w.company, w.id,
         jsonb_build_object('uids', g.uids)
    from (select webhook_id, array_agg(uid) as uids from gone group by webhook_id) g
    join cdc.webhook w on w.id = g.webhook_id
)
select webhook_id, id, uid::text, event, key from gone
