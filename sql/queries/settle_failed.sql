-- settle: deliveries that failed and will be tried again: out of the queue into the retry table, or,
-- if they are there already, with a new due time. A repeated settlement changes nothing.
--
-- $1 webhooks  $2 ids  $3 uids  $4 tries  $5 statuses  $6 milliseconds  $7 excerpts
-- $8 seconds since the attempt ended  $9 errors  $10 details  $11 attempts  $12 due in seconds
-- $13 bodies  $14 events  $15 keys
-- Writes cdc.queue, cdc.retry, cdc.attempt.
with outcome as (
  select *, clock_timestamp() - age * interval '1 second' as at
    from unnest($1::bigint[], $2::bigint[], $3::uuid[], $4::int[], $5::smallint[], $6::real[],
                $7::text[], $8::float8[], $9::text[], $10::text[], $11::smallint[], $12::float8[],
                $13::bytea[], $14::text[], $15::text[])
         as o (webhook_id, id, uid, try, status, duration_ms, excerpt, age, error, detail, attempts,
               due_in, body, event, key)
), taken as (
  delete from cdc.queue q using outcome o
   where q.webhook_id = o.webhook_id and q.id = o.id and q.uid = o.uid
  returning q.*
), moved as (
  insert into cdc.retry (webhook_id, id, uid, xid, layout, action, "time", refs, event, key, body,
                         attempts, tries, due_at, last_status, last_error, included)
  select t.webhook_id, t.id, t.uid, t.xid, t.layout, t.action, t."time", t.refs, o.event, o.key,
         o.body, o.attempts, o.try, clock_timestamp() + o.due_in * interval '1 second', o.status,
         o.error, t.included
    from taken t join outcome o using (webhook_id, id, uid)
  on conflict do nothing  -- the same row twice
  returning webhook_id, id, uid, xid, layout, action, "time", refs
), again as (
  update cdc.retry r
     set body = coalesce(r.body, o.body), attempts = o.attempts, tries = o.try,
         due_at = clock_timestamp() + o.due_in * interval '1 second',
         last_status = o.status, last_error = o.error
    from outcome o
   where r.webhook_id = o.webhook_id and r.id = o.id and r.uid = o.uid and r.tries < o.try
  returning r.webhook_id, r.id, r.uid, r.xid, r.layout, r.action, r."time", r.refs
)
insert into cdc.attempt (slot, at, delivery, xid, uid, webhook_id, layout, action, "time", refs,
                         try, outcome, status, error, detail, duration_ms, excerpt)
select floor(extract(epoch from o.at) / 86400)::int % 32, o.at, id, d.xid, uid, webhook_id, d.layout,
       d.action, d."time", d.refs, o.try, 'failed', o.status, o.error, o.detail, o.duration_ms,
       o.excerpt
  from (select * from moved union all select * from again) d
  join outcome o using (webhook_id, id, uid)
