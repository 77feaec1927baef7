-- maintenance: what has been dead for too long goes, and is logged as expired.
--
-- $1 seconds  $2 died then or later  $3 how many at a time. Returns how many expired, and when the last
-- of them died: the next are looked for from there, not behind all that expired before.
-- Writes cdc.dead by dead_age, cdc.attempt. Leaves out what is being replayed.
with old as (
  select o.webhook_id, o.id, o.uid, o.died_at from cdc.dead o
   where o.died_at < statement_timestamp() - $1 * interval '1 second' and o.died_at >= $2
   order by o.died_at limit $3
     for update skip locked
), forgotten as (
  delete from cdc.dead d using old o
   where d.webhook_id = o.webhook_id and d.id = o.id and d.uid = o.uid
  returning d.*
), logged as (
  insert into cdc.attempt (slot, at, delivery, xid, uid, webhook_id, layout, action, "time", refs,
                           try, outcome, detail)
  select floor(extract(epoch from clock_timestamp()) / 86400)::int % 32, clock_timestamp(), id, xid,
         uid, webhook_id, layout, action, "time", refs, tries, 'expired', 'dead for its time'
    from forgotten
  returning 1
)
select (select count(*) from logged) as expired, (select max(died_at)::text from old) as last_died
