-- drop: dead deliveries are given up for good, and logged as dropped. Run twice it changes nothing.
--
-- $1 webhooks  $2 ids  $3 webhook-ids  $4 died before  $5 detail for the log
-- $6 actor, $7 source and $8 request of the audit
-- Returns how many. Writes cdc.dead by its primary key, cdc.attempt, cdc.audit. Leaves out what is being replayed.
with given_up as (
  select d.webhook_id, d.id, d.uid
    from unnest($1::bigint[], $2::bigint[], $3::uuid[]) as k (webhook_id, id, uid)
    join cdc.dead d on d.webhook_id = k.webhook_id and d.id = k.id and d.uid = k.uid
   where d.died_at < $4::timestamptz
   order by d.webhook_id, d.id, d.uid
     for update of d skip locked
), gone as (
  delete from cdc.dead d using given_up g
   where d.webhook_id = g.webhook_id and d.id = g.id and d.uid = g.uid
  returning d.*
), logged as (
  insert into cdc.attempt (slot, at, delivery, xid, uid, webhook_id, layout, action, "time", refs,
                           try, outcome, detail)
  select floor(extract(epoch from clock_timestamp()) / 86400)::int % 32, clock_timestamp(), id, xid,
         uid, webhook_id, layout, action, "time", refs, tries, 'dropped', $5
    from gone
  returning webhook_id
), noted as (
  insert into cdc.audit (actor, source, request, action, company, webhook_id, after)
  select $6::text, $7::text, $8::text, 'delivery.drop', w.company, w.id,
         jsonb_build_object('deliveries', l.count, 'detail', $5::text)
    from (select webhook_id, count(*) as count from logged group by webhook_id) l
    join cdc.webhook w on w.id = l.webhook_id
)
select count(*) from logged
