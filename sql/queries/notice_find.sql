-- maintenance: what has begun or ended with the webhooks of some shards, and has no notice yet.
--
-- $1 shards   $2 webhooks whose last attempt succeeded   $3 after how many seconds of failing
-- $4 seconds of failing after which a webhook is suspended, and $5 how many before it is announced
-- $6 seconds that held deliveries are kept, and $7 how many before their end it is announced
-- $8 seconds between two notices about dead deliveries of a webhook   $9 rows of cdc.dead looked at, at most
-- Returns the moment, what a notice is made of, and the attempt that is the cause.
-- Reads cdc.webhook and cdc.lane; of the queue and of retries one row of each webhook that is held or fails;
-- of cdc.dead what is new, by dead_age. Locks nothing.
with hook as materialized (
  select w.id, w.company, w.state, w.reason, w.since, l.last_error,
         -- Resuming a webhook starts its time again.
         case when w.state = 'active' then greatest(l.failing_since, w.since) end as failing_since,
         l.failing_since is null as well
    from cdc.webhook w
    left join cdc.lane l on l.webhook_id = w.id
   where (w.id % 64)::int = any($1::int[]) and w.state <> 'removed'
     and (l.failing_since is not null or w.state <> 'active' or w.id = any($2::bigint[]))
), edge as (
  select 'failing' as kind, h.id, h.failing_since as since,
         h.failing_since + $4::float8 * interval '1 second' as until, 0::bigint as n,
         null::text as event, null::text as error, null::smallint as status, null::bigint as delivery
    from hook h
   where not h.well and h.failing_since < statement_timestamp() - $3::float8 * interval '1 second'
  union all
  select 'suspending', h.id, h.failing_since, h.failing_since + $4 * interval '1 second', 0,
         null, null, null, null
    from hook h
   where not h.well and $4 > $5::float8
     and h.failing_since < statement_timestamp() - ($4 - $5) * interval '1 second'
  union all
  select 'suspended', h.id, h.since, null, 0, null, null, null, null
    from hook h where h.state = 'suspended'
  union all
  select 'recovered', h.id, bad.since, null, 0, null, null, null, null
    from unnest($2::bigint[]) fine (id)
    join hook h on h.id = fine.id and h.state = 'active' and h.well
   cross join lateral (
     select max(n.since) as since from cdc.notice n
      where n.webhook_id = h.id and n.kind in ('failing', 'suspended')) bad
   where bad.since is not null
  union all
  select 'expiring', h.id, h.since, greatest(h.since, oldest."time") + $6::float8 * interval '1 second', 0,
         null, null, null, null
    from hook h
   cross join lateral (
     select min(x."time") as "time"
       from ((select q."time" from cdc.queue q where q.webhook_id = h.id order by q.id limit 1)
             union all
             (select r."time" from cdc.retry r where r.webhook_id = h.id order by r.id limit 1)) x
      where isfinite(x."time")) oldest
   where h.state in ('paused', 'suspended') and oldest."time" is not null
     and greatest(h.since, oldest."time") < statement_timestamp() - ($6 - $7::float8) * interval '1 second'
  union all
  (select 'dead', d.webhook_id, min(d.died_at), null, count(*), (array_agg(d.event order by d.died_at desc))[1],
          (array_agg(d.last_error order by d.died_at desc))[1],
          (array_agg(d.last_status order by d.died_at desc))[1],
          (array_agg(d.id order by d.died_at desc))[1]
     from (select x.webhook_id, x.id, x.died_at, x.event, x.last_error, x.last_status from cdc.dead x
            where x.died_at > statement_timestamp() - 2 * $8::float8 * interval '1 second'
            order by x.died_at desc limit $9) d
     left join lateral (
       select max(n.at) as at from cdc.notice n where n.webhook_id = d.webhook_id and n.kind = 'dead') last on true
    where (d.webhook_id % 64)::int = any($1::int[])
      and d.died_at > coalesce(last.at, '-infinity')
      and coalesce(last.at < statement_timestamp() - $8 * interval '1 second', true)
    group by d.webhook_id)
)
select statement_timestamp(), e.kind, e.id, w.company, coalesce(e.event, next.event), e.since, e.until, e.n,
       w.state, w.reason, coalesce(e.error, next.error, l.last_error, ''), coalesce(e.status, next.status),
       coalesce((select a.detail from cdc.attempt a
                  where a.delivery = coalesce(e.delivery, next.id) and a.webhook_id = e.id
                  order by a.at desc limit 1), '')
  from edge e
  join cdc.webhook w on w.id = e.id and w.state <> 'removed'
  left join cdc.lane l on l.webhook_id = e.id
  left join lateral (
    select r.id, r.event, r.last_error as error, r.last_status as status
      from cdc.retry r
     where r.webhook_id = e.id and r.due_at is not null and e.kind in ('failing', 'suspending', 'suspended')
     order by r.due_at limit 1) next on true
 where not exists (
   select from cdc.notice n
    where n.webhook_id = e.id and n.kind = e.kind
      -- A daemon that takes over counts the time of failing on, on its own clock.
      and n.since > e.since - case when e.kind in ('failing', 'suspending') then interval '1 minute'
                                   else interval '1 microsecond' end)
