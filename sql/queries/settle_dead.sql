-- settle: deliveries whose budget is used up: out of queue or retry table, to the dead.
--
-- Parameters as in settle_failed.sql, without due in seconds:
-- $12 bodies  $13 events  $14 keys
-- Writes cdc.queue, cdc.retry, cdc.dead, cdc.attempt.
with outcome as (
  select *, clock_timestamp() - age * interval '1 second' as at
    from unnest($1::bigint[], $2::bigint[], $3::uuid[], $4::int[], $5::smallint[], $6::real[],
                $7::text[], $8::float8[], $9::text[], $10::text[], $11::smallint[], $12::bytea[],
                $13::text[], $14::text[])
         as o (webhook_id, id, uid, try, status, duration_ms, excerpt, age, error, detail, attempts,
               body, event, key)
), from_queue as (
  delete from cdc.queue q using outcome o
   where q.webhook_id = o.webhook_id and q.id = o.id and q.uid = o.uid
  returning q.webhook_id, q.id, q.uid, q.xid, q.layout, q.action, q."time", q.refs,
            q.included
), from_retry as (
  delete from cdc.retry r using outcome o
   where r.webhook_id = o.webhook_id and r.id = o.id and r.uid = o.uid
  returning r.webhook_id, r.id, r.uid, r.xid, r.layout, r.action, r."time", r.refs,
            r.included
), buried as (
  insert into cdc.dead (webhook_id, id, uid, xid, layout, action, "time", refs, event, key, body,
                        attempts, tries, last_status, last_error, included)
  select d.webhook_id, d.id, d.uid, d.xid, d.layout, d.action, d."time", d.refs, o.event, o.key, o.body, o.attempts,
         o.try, o.status, o.error, d.included
    from (select * from from_queue union all select * from from_retry) d
    join outcome o using (webhook_id, id, uid)
  on conflict do nothing
  returning webhook_id, id, uid, xid, layout, action, "time", refs
)
insert into cdc.attempt (slot, at, delivery, xid, uid, webhook_id, layout, action, "time", refs,
                         try, outcome, status, error, detail, duration_ms, excerpt)
select floor(extract(epoch from o.at) / 86400)::int % 32, o.at, id, d.xid, uid, webhook_id, d.layout,
       d.action, d."time", d.refs, o.try, 'dead', o.status, o.error, o.detail, o.duration_ms,
       o.excerpt
  from buried d join outcome o using (webhook_id, id, uid)
