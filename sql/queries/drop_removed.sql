-- maintenance: what was queued for a removed webhook is logged as dropped, some rows at a time. Strays of
-- writers that were open at the removal are swept by the same.
--
-- $1 webhook  $2, $3 after these ids of queue and retry table  $4 how many. Returns how many were dropped,
-- and the last ids looked at (null: there were no more).
-- Writes cdc.queue, cdc.retry, cdc.attempt. Leaves out what is locked. Continues from the last ids: while
-- a session holds an old snapshot, the indexes keep an entry of each row that was dropped before.
with next_queued as (
  select l.webhook_id, l.id, l.uid from cdc.queue l
   where l.webhook_id = $1 and l.id > $2 order by l.id limit $4
     for update skip locked
), next_retried as (
  select l.webhook_id, l.id, l.uid from cdc.retry l
   where l.webhook_id = $1 and l.id > $3 order by l.id limit $4
     for update skip locked
), queued as (
  delete from cdc.queue q using next_queued n
   where q.webhook_id = n.webhook_id and q.id = n.id and q.uid = n.uid
  returning q.webhook_id, q.id, q.uid, q.xid, q.layout, q.action, q."time", q.refs, 0 as tries
), retried as (
  delete from cdc.retry r using next_retried n
   where r.webhook_id = n.webhook_id and r.id = n.id and r.uid = n.uid
  returning r.webhook_id, r.id, r.uid, r.xid, r.layout, r.action, r."time", r.refs, r.tries
), logged as (
  insert into cdc.attempt (slot, at, delivery, xid, uid, webhook_id, layout, action, "time", refs,
                           try, outcome, detail)
  select floor(extract(epoch from clock_timestamp()) / 86400)::int % 32, clock_timestamp(), id, xid,
         uid, webhook_id, layout, action, "time", refs, tries, 'dropped', 'its webhook was removed'
    from (select * from queued union all select * from retried) d
  returning 1
)
select (select count(*) from logged) as dropped, (select max(id) from next_queued) as last_queued,
       (select max(id) from next_retried) as last_retried
