-- Who may do what: all rights of our roles in schema cdc. Everything is owned by cdc_owner.
-- Needs: superuser, or cdc_owner. Can be run at any time, as often as wanted; it only gives back what is missing.
-- (20_schema.sql gives the first one, too: what lies between needs it.)
grant usage on schema cdc to cdc_daemon, cdc_admin, cdc_reader, cdc_capture, cdc_serve;
revoke all on all tables in schema cdc from public;
revoke all on all sequences in schema cdc from public;
revoke all on all functions in schema cdc from public;

-- The daemon: moves deliveries along. It reads registrations and secrets, and may suspend a webhook.
grant select on cdc.installation, cdc.layout, cdc.webhook, cdc.webhook_secret, cdc.subscription
  to cdc_daemon;
grant select on cdc.schema_version to cdc_daemon, cdc_admin, cdc_reader;
grant select, insert, update, delete on cdc.queue, cdc.retry, cdc.dead, cdc.lane to cdc_daemon;
grant select, update on cdc.shard to cdc_daemon;
grant update (state, reason, xid, unverified_since) on cdc.webhook to cdc_daemon;
grant select, insert on cdc.attempt to cdc_daemon;
grant update (log_pruned) on cdc.installation to cdc_daemon;
grant select, update on sequence cdc.bell, cdc.queue_id to cdc_daemon;
grant execute on function cdc.resolve(bigint[]) to cdc_daemon;
do $ring$
begin
  for slot in 0..31 loop
    execute format('grant select, truncate on cdc.attempt_%s to cdc_daemon', lpad(slot::text, 2, '0'));
  end loop;
end
$ring$;

-- Administration: registrations, replays.
grant select, insert, update, delete on cdc.webhook, cdc.webhook_secret, cdc.subscription to cdc_admin;
grant select, insert, update, delete on cdc.retry, cdc.dead to cdc_admin;
grant select, update on cdc.installation to cdc_admin;
grant update on sequence cdc.queue_id to cdc_admin;
grant select on cdc.layout, cdc.queue, cdc.attempt, cdc.lane, cdc.shard, cdc.bell, cdc.queue_id
  to cdc_admin;
grant insert on cdc.attempt to cdc_admin;
grant delete on cdc.queue to cdc_admin;

-- Readers: the state of everything, no secrets (webhook.headers may hold a token, so not that either).
grant select (id, company, description, state, reason, since, max_concurrency, rate_limit, created_at,
              version, tls_profile, ref, unverified_since) on cdc.webhook to cdc_reader;
grant select on cdc.installation, cdc.layout, cdc.subscription, cdc.lane, cdc.shard, cdc.bell, cdc.queue_id
  to cdc_reader;
grant select (id, xid, webhook_id, uid, layout, action, "time", refs) on cdc.queue to cdc_reader;
grant select (id, webhook_id, uid, action, "time", event, key, attempts, tries, due_at, moved_at,
              last_status, last_error) on cdc.retry to cdc_reader;
grant select (id, webhook_id, uid, action, "time", event, key, attempts, tries, died_at, last_status,
              last_error) on cdc.dead to cdc_reader;
grant select (at, delivery, uid, webhook_id, layout, action, "time", refs, try, outcome, status,
              error, duration_ms) on cdc.attempt to cdc_reader;

-- Capture: adds to the queue, without a say in the transaction, and to what is unresolved.
-- Of registrations it sees which webhook wants which event of which company, and nothing else.
grant insert (id, webhook_id, uid, layout, action, "time", refs, included) on cdc.queue to cdc_capture;
grant select, insert, delete on cdc.unresolved to cdc_capture;
grant update (tries, reason, retry_at) on cdc.unresolved to cdc_capture;
grant select (id, xid, source, key, own), insert (source, key, own) on cdc.gone to cdc_capture;
grant select on cdc.subscription, cdc.bell to cdc_capture;
grant select on cdc.queue_id to cdc_capture;
grant execute on function cdc.kept(json, oid), cdc.renamed(jsonb), cdc.new_id() to cdc_capture;
grant execute on function cdc.unfiltered(regclass), cdc.included(text[], text[], text[], bigint) to cdc_capture;
grant execute on function cdc.brought(text[], uuid), cdc.bounded(json), cdc.new_id() to cdc_daemon;
grant execute on function cdc.refresh_statistics() to cdc_daemon, cdc_admin;
grant execute on function cdc.brought(text[], uuid),
  cdc.owed(bigint, xid8, bigint, int, int, smallint[], bool) to cdc_serve;
grant select (id, xid), delete on cdc.gone to cdc_daemon;

-- The API (`cdc serve`): registrations and replays. It writes secrets and can read none, nor what else is secret
-- in a registration: cdc.registration shows it without.
grant select on cdc.schema_version, cdc.installation, cdc.layout, cdc.queue, cdc.attempt, cdc.lane, cdc.shard,
  cdc.bell, cdc.queue_id, cdc.registration to cdc_serve;
grant select (id, company, description, state, reason, since, max_concurrency, rate_limit, created_at,
              version, xid, tls_profile, ref, unverified_since) on cdc.webhook to cdc_serve;
grant insert (company, endpoint, description, state, reason, max_concurrency, rate_limit, headers,
              tls_profile, ref, unverified_since) on cdc.webhook to cdc_serve;
grant update (endpoint, description, state, reason, max_concurrency, rate_limit, headers, version,
              tls_profile, ref, unverified_since) on cdc.webhook to cdc_serve;
grant select (webhook_id, created_at, expires_at, scheme) on cdc.webhook_secret to cdc_serve;
grant insert (webhook_id, secret, expires_at, scheme) on cdc.webhook_secret to cdc_serve;
grant update (expires_at) on cdc.webhook_secret to cdc_serve;
grant delete on cdc.webhook_secret to cdc_serve;
grant select, insert, delete on cdc.subscription to cdc_serve;
grant select, insert, update, delete on cdc.retry, cdc.dead to cdc_serve;
grant select, insert on cdc.api_key, cdc.audit to cdc_serve, cdc_admin;
grant insert (actor, action, company, webhook_id, before, after) on cdc.audit to cdc_daemon;
grant update (revoked_at, last_used_at) on cdc.api_key to cdc_serve, cdc_admin;
grant select, insert, update, delete on cdc.idempotency, cdc.task to cdc_serve;
grant select, insert, delete on cdc.session to cdc_serve;
grant insert, select (expires_at) on cdc.session to cdc_admin;
grant select on cdc.registration to cdc_admin;
grant delete on cdc.queue to cdc_serve;
grant execute on function cdc.company_names(text[], text, int), cdc.refresh_statistics() to cdc_serve;
grant insert on cdc.attempt to cdc_serve;

-- Backfills: started by people and the API, carried out by the daemon.
grant select, insert, update on cdc.backfill to cdc_admin, cdc_serve;
grant select, update, delete on cdc.backfill to cdc_daemon;
grant select on cdc.backfill to cdc_reader;
grant execute on function cdc.read_backfill(bigint, text, int) to cdc_daemon;
grant execute on function cdc.count_backfill(bigint, text, "char", timestamptz, int) to cdc_admin, cdc_serve;

-- Tests of webhooks: asked for by the API, sent by the daemon.
grant select (id, kind, state, webhook_id, request, created_at), update (state, result, error, ended_at)
  on cdc.task to cdc_daemon;

-- What was kept of a row of the suite (own) may be any short text of it: only capture reads it.
grant select (id, xid, resource, source, key, action, "time", reason, tries, retry_at)
  on cdc.unresolved to cdc_daemon, cdc_admin, cdc_reader, cdc_serve;

-- Notices.
grant select on cdc.notice to cdc_admin, cdc_reader, cdc_serve;
grant select, insert, delete on cdc.notice to cdc_daemon;
grant select on cdc.contact to cdc_daemon, cdc_admin, cdc_serve;
grant update (invited_at, due_at, claimed_until, tries, last_error) on cdc.contact to cdc_daemon;
grant select, insert, delete on cdc.mail to cdc_daemon;
grant insert, delete on cdc.contact to cdc_admin, cdc_serve;
grant update (confirmed_at) on cdc.contact to cdc_admin, cdc_serve;
