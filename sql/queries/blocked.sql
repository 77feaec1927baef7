-- take-over: the resources that are being retried, with what is parked behind each.
--
-- $1 shards
select r.webhook_id, r.event, r.key,
       count(*) filter (where r.due_at is null) as waiting,
       extract(epoch from min(r.due_at) - clock_timestamp())::float8 as due_in
  from cdc.retry r
 where (r.webhook_id % 64)::int = any($1::int[])
 group by r.webhook_id, r.event, r.key
