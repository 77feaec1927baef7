-- settle: a lane's breaker opened or closed, or the owner acts on a new version of the registration.
--
-- $1 webhook  $2 breaker  $3 failures  $4 failing for seconds (null: not)  $5 last error  $6 version
-- Writes cdc.lane.
insert into cdc.lane (webhook_id, breaker, failures, failing_since, last_error, version)
select w.id, $2::text, $3::int, clock_timestamp() - $4::float8 * interval '1 second', $5::text, $6::bigint
  from cdc.webhook w where w.id = $1
on conflict (webhook_id) do update
   set breaker = excluded.breaker, failures = excluded.failures,
       failing_since = excluded.failing_since, last_error = excluded.last_error,
       version = greatest(cdc.lane.version, excluded.version),
       since = case when cdc.lane.breaker = excluded.breaker then cdc.lane.since
                    else clock_timestamp() end
