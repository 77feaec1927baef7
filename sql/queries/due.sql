-- due: rows of the retry table whose time has come, for some lanes; the lowest of each resource.
--
-- $1 webhooks   $2 how many   $3, $4, $5 webhook, id and uid of rows that the daemon holds already
-- Reads cdc.retry by retry_due, only what is due (a condition on clock_timestamp() would read all).
select r.webhook_id, r.id, r.xid, r.uid, r.layout, r.action, r."time",
       cdc.brought(r.refs, r.uid) as refs, case when r.body is null then cdc.bounded(r.included) end as included,
       r.attempts, r.tries, r.body
  from unnest($1::bigint[], $2::int[]) as lane (webhook_id, most)
 cross join lateral (
         select * from cdc.retry r
          where r.webhook_id = lane.webhook_id and r.due_at <= statement_timestamp()
            and not exists (select from unnest($3::bigint[], $4::bigint[], $5::uuid[]) as held (webhook_id, id, uid)
                             where held.webhook_id = r.webhook_id and held.id = r.id
                               and held.uid = r.uid)
            and not exists (select from cdc.retry lower
                             where lower.webhook_id = r.webhook_id and lower.event = r.event
                               and lower.key = r.key and lower.id < r.id
                               and lower.due_at is not null)
          order by r.due_at, r.id
          limit lane.most) r
