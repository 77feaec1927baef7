-- tests: we are at one no longer, whatever its result. After trial_end has committed: one whose lock is free
-- and that has not ended has lost its daemon (webhooks/trials.py).
--
-- $1 task  $2 class of the advisory locks that trial_claim has taken
select pg_advisory_unlock($2, hashtext($1::uuid::text))
