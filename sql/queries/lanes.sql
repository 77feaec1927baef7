-- take-over: what the last owner kept of its lanes, where it is something.
--
-- $1 shards
select l.webhook_id, l.failures,
       extract(epoch from clock_timestamp() - l.failing_since)::float8 as failing_for,
       greatest(coalesce(extract(epoch from l.slow_until - clock_timestamp()), 0), 0)::float8 as slow_for,
       coalesce(l.last_error, '') as last_error
  from cdc.lane l
 where (l.webhook_id % 64)::int = any($1::int[])
   and (l.failures > 0 or l.failing_since is not null or l.slow_until > clock_timestamp()
        or starts_with(l.last_error, 'cannot be used: '))
