-- settle, first of all: which of these shards are still ours? Held until COMMIT, so that no daemon takes
-- one over in the meantime; FOR KEY SHARE would let them.
--
-- $1 shards   $2 the epochs in which we own them
-- Returns those that are ours, and whether each is held now: one that another session has locked is not
-- waited for.
with own as materialized (
  select * from unnest($1::int[], $2::bigint[]) as own (id, epoch)
), held as materialized (
  select s.id
    from cdc.shard s join own on own.id = s.id and own.epoch = s.epoch
   order by s.id
     for share of s skip locked
)
select s.id, held.id is not null as held
  from own
  join cdc.shard s on s.id = own.id and s.epoch = own.epoch
  left join held on held.id = s.id
