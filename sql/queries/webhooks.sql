-- Registrations with their secrets, newest secret first; expired ones are left out.
--
-- $1 webhooks
select w.id, w.company, w.endpoint, w.state, w.version, w.max_concurrency, w.rate_limit, w.headers,
       w.tls_profile,
       coalesce((select array_agg(s.secret order by s.created_at desc)
                   from cdc.webhook_secret s
                  where s.webhook_id = w.id
                    and (s.expires_at is null or s.expires_at > clock_timestamp())), '{}') as secrets,
       (select extract(epoch from min(s.expires_at) - clock_timestamp())::float8
          from cdc.webhook_secret s
         where s.webhook_id = w.id and s.expires_at > clock_timestamp()) as secrets_for
  from cdc.webhook w
 where w.id = any($1::bigint[])
