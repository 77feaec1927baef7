-- care: what is held too long, or dead for too long, goes; held ones are logged as expired.
--
-- $1 seconds  $2 how many at a time. Returns how many expired.
-- Held means: the webhook is paused or suspended.
-- Writes cdc.queue by queue_lane, cdc.retry, cdc.dead by dead_age, cdc.attempt.
with held as (
  select w.id from cdc.webhook w where w.state in ('paused', 'suspended')
), queued as (
  delete from cdc.queue q
   where (q.webhook_id, q.id) in (
           select l.webhook_id, l.id
             from held h
            cross join lateral (select o.webhook_id, o.id, o."time" from cdc.queue o
                                 where o.webhook_id = h.id order by o.id limit $2) l
            where l."time" < statement_timestamp() - $1 * interval '1 second')
  returning q.webhook_id, q.id, q.uid, q.layout, q.action, q."time", q.refs, 0 as tries
), retried as (
  delete from cdc.retry r
   where r.webhook_id in (select id from held)
     and r."time" < statement_timestamp() - $1 * interval '1 second'
  returning r.webhook_id, r.id, r.uid, r.layout, r.action, r."time", r.refs, r.tries
), forgotten as (
  delete from cdc.dead d where d.died_at < statement_timestamp() - $1 * interval '1 second'
  returning d.webhook_id, d.id, d.uid, d.layout, d.action, d."time", d.refs, d.tries
), logged as (
  insert into cdc.attempt (slot, at, delivery, uid, webhook_id, layout, action, "time", refs, try,
                           outcome, detail)
  select floor(extract(epoch from clock_timestamp()) / 86400)::int % 32, clock_timestamp(), id, uid,
         webhook_id, layout, action, "time", refs, tries, 'expired', 'kept for its time'
    from (select * from queued union all select * from retried union all select * from forgotten) d
  returning 1
)
select count(*) from logged
