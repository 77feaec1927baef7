-- settle: deliveries out of the retry table that succeeded.
--
-- $1 webhooks  $2 ids  $3 uids  $4 tries  $5 statuses  $6 milliseconds  $7 excerpts
-- $8 seconds since the attempt ended
-- Writes cdc.retry, cdc.attempt.
with done as (
  delete from cdc.retry r
   using unnest($1::bigint[], $2::bigint[], $3::uuid[], $4::int[], $5::smallint[], $6::real[],
                $7::text[], $8::float8[])
         as o (webhook_id, id, uid, try, status, duration_ms, excerpt, age)
   where r.webhook_id = o.webhook_id and r.id = o.id and r.uid = o.uid
  returning r.*, o.try, o.status, o.duration_ms, o.excerpt,
            clock_timestamp() - o.age * interval '1 second' as at
)
insert into cdc.attempt (slot, at, delivery, xid, uid, webhook_id, layout, action, "time", refs,
                         try, outcome, status, duration_ms, excerpt)
select floor(extract(epoch from at) / 86400)::int % 32, at, id, xid, uid, webhook_id, layout,
       action, "time", refs, try, 'delivered', status, duration_ms, excerpt
  from done
