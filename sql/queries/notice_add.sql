-- care: writes notices. One statement with the fence (fence.sql): a daemon that has lost a shard without
-- knowing it writes nothing, and its next owner sees what was written before.
--
-- $1 shards   $2 the epochs in which we own them   $3 when they were found
-- $4 kinds   $5 webhooks   $6 companies   $7 events   $8 since   $9 causes   $10 sentences
-- Returns kind, webhook and sentence of those that are new. Writes cdc.notice.
with own as materialized (
  select s.id
    from cdc.shard s
    join unnest($1::int[], $2::bigint[]) as own (id, epoch) on own.id = s.id and own.epoch = s.epoch
     for share of s skip locked
)
insert into cdc.notice (at, kind, webhook_id, company, event, since, cause, sentence)
select $3::timestamptz, n.kind, n.webhook_id, n.company, n.event, n.since, n.cause, n.sentence
  from unnest($4::text[], $5::bigint[], $6::text[], $7::text[], $8::timestamptz[], $9::text[], $10::text[])
         as n (kind, webhook_id, company, event, since, cause, sentence)
 where (n.webhook_id % 64)::int = any (array(select id from own))
on conflict do nothing
returning kind, webhook_id, sentence
