-- ownership: raises the epoch of shards whose locks are ours, so that the owner before cannot settle any
-- more (fence.sql).
--
-- $1 shards   $2 who takes them, for people
-- Returns those taken, with their epochs. Leaves out those that are being settled at this moment: the row
-- is locked, and may stay so.
-- Writes cdc.shard by its key.
update cdc.shard set epoch = epoch + 1, owner = $2, since = clock_timestamp()
 where id in (select id from cdc.shard where id = any($1::int[])
               order by id for update skip locked)
returning id::int, epoch
