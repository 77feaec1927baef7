-- take-over: the resources that are being retried, with what is parked behind each.
--
-- $1 shards. due_in: seconds until the next is due; null where the first of them is parked, behind
-- nobody: it is to be promoted.
select r.webhook_id, r.event, r.key, count(*) filter (where r.due_at is null) as waiting,
       case when bool_or(r.due_at is not null and (r.id = r.lowest or r.xid = r.first_xid))
            then extract(epoch from min(r.due_at) - clock_timestamp())::float8 end as due_in
  from (select webhook_id, event, key, id, due_at, xid,
               first_value(id) over line as lowest, first_value(xid) over line as first_xid
          from cdc.retry
         where (webhook_id % 64)::int = any($1::int[])
        window line as (partition by webhook_id, event, key order by id)) r
 group by r.webhook_id, r.event, r.key
