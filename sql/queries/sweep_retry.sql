-- care: rows that are parked behind a retried one which is not there any more (it expired, or a crash
-- came between its end and their promotion): the lowest of each resource is due now.
--
-- $1 shards  $2 seconds: rows parked for longer than this. Returns webhook and id of those.
-- Writes cdc.retry.
update cdc.retry r
   set due_at = clock_timestamp()
  from (select distinct on (p.webhook_id, p.event, p.key) p.webhook_id, p.id, p.uid
          from cdc.retry p
         where (p.webhook_id % 64)::int = any($1::int[]) and p.due_at is null
           and p.moved_at < statement_timestamp() - $2 * interval '1 second'
           and not exists (select from cdc.retry d
                            where d.webhook_id = p.webhook_id and d.event = p.event
                              and d.key = p.key and d.due_at is not null)
         order by p.webhook_id, p.event, p.key, p.id) lowest
 where r.webhook_id = lowest.webhook_id and r.id = lowest.id and r.uid = lowest.uid
returning r.webhook_id, r.id
