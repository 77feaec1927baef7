-- maintenance: resources whose first row in the retry table is parked, behind none: it is due now.
-- Heals what was not foreseen; it should never find anything.
--
-- $1 shards  $2 seconds: rows parked for longer than this. Returns webhook and id of those.
-- Writes cdc.retry; leaves out what is locked. Reads it once, by retry_resource.
update cdc.retry r
   set due_at = clock_timestamp()
  from (select lowest.webhook_id,
               case made.action when 'c' then made.id else lowest.id end as id,
               case made.action when 'c' then made.uid else lowest.uid end as uid
          from (select distinct on (p.webhook_id, p.event, p.key) p.*
                  from cdc.retry p
                 where (p.webhook_id % 64)::int = any($1::int[])
                 order by p.webhook_id, p.event, p.key, p.id) lowest
          left join lateral (
                 select c.id, c.uid, c.action from cdc.retry c
                  where c.webhook_id = lowest.webhook_id and c.event = lowest.event
                    and c.key = lowest.key and c.xid = lowest.xid and c.action <> 'm'
                  order by c.id limit 1) made on true
         where lowest.due_at is null) first,
       lateral (select from cdc.retry l
                 where l.webhook_id = first.webhook_id and l.id = first.id and l.uid = first.uid
                   for update skip locked) free
 where r.webhook_id = first.webhook_id and r.id = first.id and r.uid = first.uid
   and r.due_at is null
   and r.moved_at < statement_timestamp() - $2 * interval '1 second'
returning r.webhook_id, r.id
