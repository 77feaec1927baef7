-- take-over: what the last owner kept of its lanes.
--
-- $1 shards
select l.webhook_id, l.failures,
       coalesce(extract(epoch from clock_timestamp() - l.failing_since), 0)::float8 as failing_for
  from cdc.lane l
 where (l.webhook_id % 64)::int = any($1::int[]) and l.failures > 0
