-- settle: the receiver is gone (410), or failed for days without one success.
--
-- $1 webhook  $2 reason  $3 version of the registration that was sent to: one that was changed since is
-- tried first
-- Writes cdc.webhook, whose trigger raises the version and notifies all daemons, and cdc.audit.
with suspended as (
  update cdc.webhook set state = 'suspended', reason = $2
   where id = $1 and state = 'active' and version = $3
  returning id, company, state, reason
)
insert into cdc.audit (actor, action, company, webhook_id, before, after)
select 'daemon', 'webhook.suspend', company, id, '{"state": "active"}',
       jsonb_build_object('state', state, 'reason', reason)
  from suspended
