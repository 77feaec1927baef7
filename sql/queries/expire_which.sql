-- maintenance: webhooks held long enough that what waits for them may have expired. Held means: paused or
-- suspended.
--
-- $1 seconds. Reads cdc.webhook, one row of each held one by queue_lane, one by the key of cdc.retry.
select w.id
  from cdc.webhook w
 where w.state in ('paused', 'suspended')
   and w.since < statement_timestamp() - $1 * interval '1 second'
   and (exists (select from (select q."time" from cdc.queue q
                              where q.webhook_id = w.id order by q.id limit 1) oldest
                 where oldest."time" < statement_timestamp() - $1 * interval '1 second')
        or exists (select from cdc.retry r where r.webhook_id = w.id))
 order by w.id
