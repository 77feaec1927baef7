-- A webhook's lane begins: the resources that are being retried, some at a time.
--
-- $1 webhooks  $2, $3 event and key after which to begin in the first of them  $4 how many at most
-- has_time: false where the first of them is parked, behind none: it must be promoted.
-- Reads cdc.retry by retry_resource and retry_created, one row or two of each resource, however many
-- are parked.
select lane.webhook_id, line.event, line.key,
       line.due_at is not null
         or coalesce((select c.action = 'c' and c.due_at is not null from cdc.retry c
                       where c.webhook_id = lane.webhook_id and c.event = line.event
                         and c.key = line.key and c.xid = line.xid and c.action <> 'm'
                       order by c.id limit 1), false) as has_time
  from unnest($1::bigint[]) with ordinality as lane (webhook_id, place)
 cross join lateral (
         with recursive line as (
           (select r.event, r.key, r.xid, r.due_at from cdc.retry r
             where r.webhook_id = lane.webhook_id
               and (r.event, r.key) > (case lane.place when 1 then $2::text else '' end,
                                       case lane.place when 1 then $3::text else '' end)
             order by r.event, r.key, r.id limit 1)
           union all
           select next.* from line l
            cross join lateral (
                    select r.event, r.key, r.xid, r.due_at from cdc.retry r
                     where r.webhook_id = lane.webhook_id and (r.event, r.key) > (l.event, l.key)
                     order by r.event, r.key, r.id limit 1) next
         )
         select * from line) line
 limit $4
