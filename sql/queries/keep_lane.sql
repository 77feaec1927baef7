-- settle: a lane's breaker opened or closed, it slows down or recovers, or its owner acts on a new
-- version of the registration.
--
-- $1 webhook  $2 breaker  $3 failures  $4 failing for seconds (null: not)  $5 slow for seconds
-- $6 last error  $7 version
-- Writes cdc.lane.
insert into cdc.lane (webhook_id, breaker, failures, failing_since, slow_until, last_error, version)
select w.id, $2::text, $3::int, clock_timestamp() - $4::float8 * interval '1 second',
       clock_timestamp() + nullif($5::float8, 0) * interval '1 second', $6::text, $7::bigint
  from cdc.webhook w where w.id = $1
on conflict (webhook_id) do update
   set breaker = excluded.breaker, failures = excluded.failures,
       failing_since = excluded.failing_since, slow_until = excluded.slow_until,
       last_error = excluded.last_error,
       version = greatest(cdc.lane.version, excluded.version),
       since = case when cdc.lane.breaker = excluded.breaker then cdc.lane.since
                    else clock_timestamp() end
