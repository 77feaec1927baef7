-- care: what was queued for a removed webhook is logged as dropped, some rows at a time. Strays of
-- writers that were open at the removal are swept by the same.
--
-- $1 webhook  $2 how many. Returns how many were dropped.
-- Writes cdc.queue, cdc.retry, cdc.attempt. Leaves out what is locked.
with queued as (
  delete from cdc.queue q
   where (q.webhook_id, q.id, q.uid) in (select l.webhook_id, l.id, l.uid from cdc.queue l
                                          where l.webhook_id = $1 order by l.id limit $2
                                            for update skip locked)
  returning q.webhook_id, q.id, q.uid, q.xid, q.layout, q.action, q."time", q.refs, 0 as tries
), retried as (
  delete from cdc.retry r
   where (r.webhook_id, r.id, r.uid) in (select l.webhook_id, l.id, l.uid from cdc.retry l
                                          where l.webhook_id = $1 order by l.id limit $2
                                            for update skip locked)
  returning r.webhook_id, r.id, r.uid, r.xid, r.layout, r.action, r."time", r.refs, r.tries
), logged as (
  insert into cdc.attempt (slot, at, delivery, xid, uid, webhook_id, layout, action, "time", refs,
                           try, outcome, detail)
  select floor(extract(epoch from clock_timestamp()) / 86400)::int % 32, clock_timestamp(), id, xid,
         uid, webhook_id, layout, action, "time", refs, tries, 'dropped', 'its webhook was removed'
    from (select * from queued union all select * from retried) d
  returning 1
)
select count(*) from logged
