-- settle, first of all: which of these shards are still ours? Held until COMMIT, so that nobody takes
-- one over in the meantime; FOR KEY SHARE would let them.
--
-- $1 shards   $2 the epochs in which we own them
select s.id
  from cdc.shard s
  join unnest($1::int[], $2::bigint[]) as own (id, epoch) on own.id = s.id and own.epoch = s.epoch
 order by s.id
   for share of s
