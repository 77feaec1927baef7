-- backfill: it cannot continue. Only the owner of its shard says so (fence.sql).
--
-- $1 backfill  $2 shard  $3 the epoch in which we own it  $4 its state and $5 the reason
-- Writes cdc.backfill by its key.
with own as materialized (
  select s.id from cdc.shard s where s.id = $2 and s.epoch = $3 for share skip locked
)
update cdc.backfill b set state = $4, reason = $5, ended_at = clock_timestamp()
  from own
 where b.id = $1 and b.state in ('running', 'paused')
