-- settle: the receiver is gone (410), or failed for days without one success.
--
-- $1 webhook  $2 reason  $3 version of the registration that was sent to: one that was changed since is
-- tried first
-- Writes cdc.webhook; its trigger raises the version and notifies all daemons.
update cdc.webhook set state = 'suspended', reason = $2
 where id = $1 and state = 'active' and version = $3
