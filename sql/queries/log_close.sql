-- prune: each webhook's first and last transaction of what the list of deliveries has of a partition of the attempt log,
-- for a day that has ended: nothing is logged there any more.
--
-- $1 the day
-- Reads the partition by its index on (webhook_id, xid), twice for each webhook. Writes cdc.log_day.
-- The program writes the partition's number in place of 00.
insert into cdc.log_day (webhook_id, day, first, last, added)
select 0, $1::int, null, null, pg_stat_get_tuples_inserted('cdc.attempt_00'::regclass)
union all
select w.id, $1, f.xid, l.xid, null
  from cdc.webhook w
 cross join lateral (select a.xid from cdc.attempt_00 a
                      where a.webhook_id = w.id and a.outcome <> 'failed'
                      order by a.xid limit 1) f
 cross join lateral (select a.xid from cdc.attempt_00 a
                      where a.webhook_id = w.id and a.outcome <> 'failed'
                      order by a.xid desc limit 1) l
    on conflict do nothing
