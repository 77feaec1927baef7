-- Registrations with their secrets, newest secret first; expired ones are left out. With what the last
-- owner kept of the lane, and what waits in the retry table.
--
-- $1 webhooks
-- failing_for: not if the registration was changed or resumed since: the time of failing begins again then.
-- due_in: seconds until the next retry; null: none has a time. retried: there are rows in cdc.retry.
select w.id, w.company, w.endpoint, w.state, w.version, w.max_concurrency, w.rate_limit, w.headers,
       w.tls_profile,
       coalesce((select array_agg(s.secret order by s.created_at desc)
                   from cdc.webhook_secret s
                  where s.webhook_id = w.id
                    and (s.expires_at is null or s.expires_at > clock_timestamp())), '{}') as secrets,
       (select extract(epoch from min(s.expires_at) - clock_timestamp())::float8
          from cdc.webhook_secret s
         where s.webhook_id = w.id and s.expires_at > clock_timestamp()) as secrets_for,
       coalesce(l.failures, 0) as failures,
       case when l.version >= w.version
            then extract(epoch from clock_timestamp() - l.failing_since)::float8 end as failing_for,
       greatest(coalesce(extract(epoch from l.slow_until - clock_timestamp()), 0), 0)::float8 as slow_for,
       coalesce(l.last_error, '') as last_error,
       (select extract(epoch from r.due_at - clock_timestamp())::float8
          from cdc.retry r
         where r.webhook_id = w.id and r.due_at is not null
         order by r.due_at limit 1) as due_in,
       exists (select from cdc.retry r where r.webhook_id = w.id) as retried
  from cdc.webhook w
  left join cdc.lane l on l.webhook_id = w.id
 where w.id = any($1::bigint[])
