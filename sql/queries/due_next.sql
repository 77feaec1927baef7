-- due, afterwards: in how many seconds the next retry of each lane is due, without those held and
-- those that have to wait for a lower one of their resource (a replay).
--
-- $1 webhooks   $2, $3, $4 webhook, id and uid of rows that the daemon holds
-- Reads cdc.retry by retry_due, up to the first that counts.
select next.webhook_id, extract(epoch from next.due_at - clock_timestamp())::float8 as seconds
  from unnest($1::bigint[]) as lane (webhook_id)
 cross join lateral (
         select r.webhook_id, r.due_at from cdc.retry r
          where r.webhook_id = lane.webhook_id and r.due_at is not null
            and not exists (select from unnest($2::bigint[], $3::bigint[], $4::uuid[]) as held (webhook_id, id, uid)
                             where held.webhook_id = r.webhook_id and held.id = r.id
                               and held.uid = r.uid)
            and not exists (select from cdc.retry lower
                             where lower.webhook_id = r.webhook_id and lower.event = r.event
                               and lower.key = r.key and lower.id < r.id
                               and lower.due_at is not null)
          order by r.due_at
          limit 1) next
