-- maintenance: the same for the retry table: what was moved (or replayed) there too long ago. What was
-- parked behind it is promoted in the same transaction (promote.sql).
--
-- $1 webhook  $2 seconds  $3 after this id  $4 how many to look at. Returns the last id looked at (null:
-- there were no more), how many expired, events and keys of those that had a time.
-- Writes cdc.retry by its key, cdc.attempt. Locks the webhook's row; waits for no lock.
with held as (
  select w.id from cdc.webhook w
   where w.id = $1 and w.state in ('paused', 'suspended')
     and w.since < statement_timestamp() - $2 * interval '1 second'
     for share skip locked
), next as (
  select o.* from held h
   cross join lateral (
           select l.webhook_id, l.id, l.uid, l.moved_at from cdc.retry l
            where l.webhook_id = h.id and l.id > $3
            order by l.id limit $4
              for update skip locked) o
), retried as (
  delete from cdc.retry r using next o
   where r.webhook_id = o.webhook_id and r.id = o.id and r.uid = o.uid
     and o.moved_at < statement_timestamp() - $2 * interval '1 second'
  returning r.*
), logged as (
  insert into cdc.attempt (slot, at, delivery, xid, uid, webhook_id, layout, action, "time", refs,
                           try, outcome, detail)
  select floor(extract(epoch from clock_timestamp()) / 86400)::int % 32, clock_timestamp(), id, xid,
         uid, webhook_id, layout, action, "time", refs, tries, 'expired', 'held for its time'
    from retried
  returning 1
)
select (select max(id) from next) as last_id, (select count(*) from logged) as expired,
       coalesce((select array_agg(event) from retried where due_at is not null), '{}') as events,
       coalesce((select array_agg(key) from retried where due_at is not null), '{}') as keys
