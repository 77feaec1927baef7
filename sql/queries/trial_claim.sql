-- tests: takes some that wait for webhooks of shards that are ours; their locks are held until COMMIT, so
-- no daemon takes such a shard over in the meantime, and none sends the same (fence.sql).
--
-- $1 shards  $2 the epochs in which we own them  $3 how many at most  $4 seconds after which it is too late
-- $5 class of the advisory locks by which the session shows that it is at them, until it ends
-- Reads cdc.task by task_open; writes it by its key.
-- Returns no events where the request is not of the form that is written by webhooks/trials.py.
with due as materialized (
  select t.id
    from cdc.task t
    join unnest($1::int[], $2::bigint[]) own (id, epoch) on own.id = (t.webhook_id % 64)::int
    join cdc.shard s on s.id = own.id and s.epoch = own.epoch
   where t.state = 'waiting' and t.kind = 'test' and t.created_at > clock_timestamp() - $4 * interval '1 second'
   order by t.created_at
   limit $3
     for no key update of t skip locked
     for share of s skip locked
)
update cdc.task t set state = 'running'
  from due
 where t.id = due.id
returning t.id, t.webhook_id,
       case when pg_column_size(t.request) < 8000 and jsonb_typeof(t.request -> 'events') = 'array'
                 and coalesce(t.request ->> 'challenge', 'echo') in ('echo', 'accept')
            then array(select jsonb_array_elements_text(t.request -> 'events')) end as events,
       case t.request ->> 'challenge' when 'echo' then 'echo' when 'accept' then 'accept' end as challenge,
       pg_try_advisory_lock($5, hashtext(t.id::text))
