-- maintenance: what has waited too long in the queue of a held webhook is logged as expired, the oldest first.
--
-- $1 webhook  $2 seconds  $3 after this id  $4 how many at a time. Returns how many expired, and the last
-- id of them: the next are looked for behind it, not behind all that expired before (drop_removed.sql).
-- Writes cdc.queue by queue_lane, cdc.attempt. Locks the webhook's row, so that it is not resumed in
-- the middle, which would send what is just expiring; waits for no lock.
with held as (
  select w.id from cdc.webhook w
   where w.id = $1 and w.state in ('paused', 'suspended')
     and w.since < statement_timestamp() - $2 * interval '1 second'
     for share skip locked
), old as (
  select o.webhook_id, o.id, o.uid
    from held h
   cross join lateral (
           select l.webhook_id, l.id, l.uid, l."time" from cdc.queue l
            where l.webhook_id = h.id and l.id > $3
            order by l.id limit $4
              for update skip locked) o
   where o."time" < statement_timestamp() - $2 * interval '1 second'
), queued as (
  delete from cdc.queue q using old o
   where q.webhook_id = o.webhook_id and q.id = o.id and q.uid = o.uid
  returning q.*
), logged as (
  insert into cdc.attempt (slot, at, delivery, xid, uid, webhook_id, layout, action, "time", refs,
                           try, outcome, detail)
  select floor(extract(epoch from clock_timestamp()) / 86400)::int % 32, clock_timestamp(), id, xid,
         uid, webhook_id, layout, action, "time", refs, 0, 'expired', 'held for its time'
    from queued
  returning 1
)
select (select count(*) from logged) as expired, (select max(id) from old) as last_id
