-- replay: some deliveries are due again, with a new budget; under the same webhook-id, or, if a receiver
-- drops what it knows, under another one that follows from it and from the end: made twice it is the same.
-- One statement, so that no stalled client holds a lock. What was replayed already, or waits anyway, is
-- left alone: run twice it changes nothing.
--
-- $1 webhooks  $2 ids  $3 webhook-ids  $4 partitions of the log (null: of the dead, or retrying)
-- $5 ended before  $6 partitions of the log written since then  $7 whether what has ended gets a new id
-- $8 actor, $9 source and $10 request of the audit
-- Returns per webhook how many. Writes cdc.retry, cdc.dead, cdc.audit, cdc.webhook (which notifies the daemons:
-- its trigger raises the version). Waits for no lock of a daemon.
with wanted as (
  select k.webhook_id, k.id, k.uid, k.slot
    from unnest($1::bigint[], $2::bigint[], $3::uuid[], $4::smallint[])
         as k (webhook_id, id, uid, slot)
    join cdc.webhook w on w.id = k.webhook_id and w.state <> 'removed'
   where not exists (select from cdc.queue q where q.webhook_id = k.webhook_id and q.id = k.id
                       and q.uid = k.uid)
), exhumed as (
  delete from cdc.dead d using wanted k
   where k.slot is null and d.webhook_id = k.webhook_id and d.id = k.id and d.uid = k.uid
     and d.died_at < $5::timestamptz
  returning d.webhook_id, d.id, d.uid, d.xid, d.layout, d.action, d."time", d.refs, d.event, d.key,
            d.body, d.tries, d.died_at as ended, d.included
), logged as (
  -- The body is no longer known: it is made again, of the same references, without values.
  select a.webhook_id, a.delivery as id, a.uid, a.xid, a.layout, a.action, a."time", a.refs, l.event,
         -- As in the other queries: an index has no room for a longer one.
         case when octet_length(a.refs[array_upper(a.refs, 1)]) > 2000 then a.uid::text
              else coalesce(a.refs[array_upper(a.refs, 1)], '') end as key,
         null::bytea as body, a.try as tries, a.at as ended, null::json as included
    from wanted k
   cross join lateral (
           select * from cdc.attempt e
            where e.slot = k.slot and e.delivery = k.id and e.uid = k.uid
              and e.webhook_id = k.webhook_id and e.outcome in ('delivered', 'expired', 'dropped')
              and e.at < $5::timestamptz
            order by e.at desc limit 1) a
    join cdc.layout l on l.id = a.layout
   where not exists (select from cdc.attempt n
                      -- Under a new id it is the same change: of the same number and time.
                      where n.slot = any($6::smallint[]) and n.delivery = k.id
                        and (n.uid = k.uid or n."time" = a."time")
                        and n.webhook_id = k.webhook_id and n.outcome <> 'failed'
                        and n.at >= $5::timestamptz)
     and not exists (select from cdc.retry r where r.webhook_id = k.webhook_id and r.id = k.id
                       and (r.uid = k.uid or r."time" = a."time"))
), lined_up as (
  -- Only the first of each resource has a time, the others wait behind it: created before modified
  -- within a transaction, unless the row was deleted in between, as in a lane.
  select d.*, row_number() over (partition by webhook_id, event, key
                                 order by first_id, lives, action = 'c' desc, id) as place
    from (select *, min(id) over (partition by webhook_id, event, key, xid) as first_id,
                 count(*) filter (where action = 'd')
                   over (partition by webhook_id, event, key, xid
                         order by id rows between unbounded preceding and 1 preceding) as lives
            from (select * from exhumed union all select * from logged) both_) d
), moved as (
  insert into cdc.retry (webhook_id, id, uid, xid, layout, action, "time", refs, event, key, body,
                         attempts, tries, due_at, included)
  select webhook_id, id,
         case when $7::bool then md5(uid::text || extract(epoch from ended))::uuid else uid end,
         xid, layout, action, "time", refs, event, key, body, 0, tries,
         case when place = 1 then clock_timestamp() end, included
    from lined_up order by webhook_id, id
  on conflict do nothing
  returning webhook_id
), later as (
  select r.webhook_id, r.id, r.uid from wanted k
    join cdc.retry r on r.webhook_id = k.webhook_id and r.id = k.id and r.uid = k.uid
   where k.slot is null and r.due_at > statement_timestamp()
     for update of r skip locked
), hurried as (
  update cdc.retry r set due_at = clock_timestamp(), attempts = 0
    from later
   where r.webhook_id = later.webhook_id and r.id = later.id and r.uid = later.uid
  returning r.webhook_id
), replayed as (
  select webhook_id, count(*) as count
    from (select webhook_id from moved union all select webhook_id from hurried) d
   group by webhook_id
), notified as (
  update cdc.webhook w set version = w.version + 1
    from replayed where w.id = replayed.webhook_id
), noted as (
  insert into cdc.audit (actor, source, request, action, company, webhook_id, after)
  select $8::text, $9::text, $10::text, 'delivery.replay', w.company, w.id,
         jsonb_build_object('deliveries', r.count, 'new_id', $7::bool)
    from replayed r join cdc.webhook w on w.id = r.webhook_id
)
select webhook_id, count from replayed order by webhook_id
