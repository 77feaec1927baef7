-- due, afterwards: in how many seconds the next retry of each lane is due, without those held.
--
-- $1 webhooks   $2, $3 webhook and id of rows that the daemon holds
select r.webhook_id, extract(epoch from min(r.due_at) - clock_timestamp())::float8 as seconds
  from cdc.retry r
 where r.webhook_id = any($1::bigint[]) and r.due_at is not null
   and not exists (select from unnest($2::bigint[], $3::bigint[]) as held (webhook_id, id)
                    where held.webhook_id = r.webhook_id and held.id = r.id)
 group by r.webhook_id
