-- backfill: queues the next rows and moves its place, if the shard is still ours (fence.sql), it still runs,
-- and it is where these rows begin: so a crash, or another owner, neither loses nor repeats one.
--
-- $1 backfill  $2 shard  $3 the epoch in which we own it  $4 its place, and $5 that of the last of these rows
-- (null: it stays)  $6 whether that was all  $7 how many rows were read  $8 layouts and $9 references (as text)
-- of those to queue
-- Returns whether it was done. Writes cdc.backfill by its key, cdc.queue; rings the bell if it is armed.
-- Numbers are below 0, and rise: so these rows come before waiting changes of their keys, and are recognised.
with own as materialized (
  select s.id from cdc.shard s where s.id = $2 and s.epoch = $3 for share skip locked
), moved as (
  update cdc.backfill b
     set place = coalesce($5::text[], b.place), looked = looked + $7, queued = queued + cardinality($8::int[]),
         state = case when $6::bool then 'done' else b.state end,
         ended_at = case when $6::bool then clock_timestamp() end
    from own, cdc.webhook w
   where b.id = $1 and b.state = 'running' and b.place is not distinct from $4::text[]
     and w.id = b.webhook_id and w.state <> 'removed'
  returning b.webhook_id, b.action
), queued as (
  insert into cdc.queue (id, webhook_id, layout, action, "time", refs)
  select cdc.new_id() - 4503599627370496, moved.webhook_id, r.layout, moved.action, clock_timestamp(),
         r.refs::text[]
    from moved, unnest($8::int[], $9::text[]) with ordinality r (layout, refs, number)
   order by r.number
  returning 1
)
select exists (select from moved),
       (select count(pg_notify('cdc', '')) from cdc.bell b, (select from queued limit 1) any_
         where b.last_value > extract(epoch from clock_timestamp()) * 1000000)
