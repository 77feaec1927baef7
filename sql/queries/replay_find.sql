-- replay, first of all: which deliveries are selected, and what was the last outcome of each?
--
-- $1 numbers  $2 webhook-ids (both null: the conditions that follow say it all)
-- $3 webhook  $4 company  $5 event  $6 outcomes  $7 change since  $8 change until
-- $9 ended before (what ends later was replayed already)
-- Returns them in the order in which they are replayed; slot: partition of the log that holds the end,
-- null for what lies in cdc.retry or cdc.dead; skip: why it is not replayed. Locks nothing.
with meant as (
  select d.webhook_id, d.id, d.uid, null::smallint as slot, 'dead' as outcome, d.event, d."time"
    from cdc.dead d
   where ($1::bigint[] is null and $2::uuid[] is null or d.id = any($1) or d.uid = any($2::uuid[]))
     and d.died_at < $9::timestamptz
  union all
  select r.webhook_id, r.id, r.uid, null,
         case when r.due_at > statement_timestamp() then 'retrying' else 'waiting' end, r.event,
         r."time"
    from cdc.retry r
   where ($1::bigint[] is null and $2::uuid[] is null or r.id = any($1) or r.uid = any($2::uuid[]))
     and (r.due_at > statement_timestamp() or $1 is not null or $2 is not null)
  union all
  select q.webhook_id, q.id, q.uid, null, 'waiting', l.event, q."time"
    from cdc.queue q join cdc.layout l on l.id = q.layout
   where q.id = any($1) or q.uid = any($2::uuid[])
  union all
  select e.webhook_id, e.delivery, e.uid, e.slot, e.outcome, e.event, e."time"
    -- A change under several ids (replayed with --new-id) counts once, under the last of them.
    from (select distinct on (a.webhook_id, a.delivery, a."time")
                 a.webhook_id, a.delivery, a.uid, a.slot, a.outcome, a.at, l.event, a."time"
            from cdc.attempt a join cdc.layout l on l.id = a.layout
           where a.outcome <> 'failed'
             and ($1::bigint[] is null and $2::uuid[] is null or a.delivery = any($1) or a.uid = any($2::uuid[]))
             and ($3::bigint is null or a.webhook_id = $3)
             and ($5::text is null or l.event = $5)
             -- An attempt comes after its change.
             and ($7::timestamptz is null or (a.at >= $7 and a."time" >= $7))
             and ($8::timestamptz is null or a."time" < $8)
           order by a.webhook_id, a.delivery, a."time", a.at desc) e
   -- The dead are in their own table, or have ended again.
   where e.outcome <> 'dead' and e.at < $9::timestamptz
)
select m.webhook_id, w.company, w.state, m.id, m.uid::text, m.slot, m.outcome,
       case when w.state is null or w.state = 'removed' then 'removed'
            when m.outcome = 'waiting' then 'waiting'
            when m.outcome = 'retrying' then null
            when exists (select from cdc.retry r where r.webhook_id = m.webhook_id
                          and r.id = m.id and (r.uid = m.uid or r."time" = m."time"))
              or exists (select from cdc.queue q where q.webhook_id = m.webhook_id
                          and q.id = m.id and q.uid = m.uid) then 'waiting'
       end as skip
  from meant m
  left join cdc.webhook w on w.id = m.webhook_id
 where ($3::bigint is null or m.webhook_id = $3)
   and ($4::text is null or w.company = $4)
   and ($5::text is null or m.event = $5)
   and (m.outcome = any($6::text[]) or m.outcome = 'waiting')
   and ($7::timestamptz is null or m."time" >= $7)
   and ($8::timestamptz is null or m."time" < $8)
 order by m.webhook_id, m.id, m.uid
