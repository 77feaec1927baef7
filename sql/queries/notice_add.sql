-- maintenance: writes notices, and a delivery of each to every webhook of the system, but of those about a webhook of
-- the system: they would go in circles. One statement with the fence (fence.sql): a daemon that has lost a shard without
-- knowing it writes nothing, and its next owner sees what was written before.
--
-- $1 shards   $2 the epochs in which we own them   $3 when they were found
-- $4 kinds   $5 webhooks   $6 companies   $7 events   $8 since   $9 causes   $10 sentences
-- Returns kind, webhook and sentence of those that are new. Writes cdc.notice, cdc.queue (and rings for
-- it), cdc.mail for contacts of the company. Locks these against removal.
with own as materialized (
  select s.id
    from cdc.shard s
    join unnest($1::int[], $2::bigint[]) as own (id, epoch) on own.id = s.id and own.epoch = s.epoch
     for share of s skip locked
), added as (
  insert into cdc.notice (at, kind, webhook_id, company, event, since, cause, sentence)
  select $3::timestamptz, n.kind, n.webhook_id, n.company, n.event, n.since, n.cause, n.sentence
    from unnest($4::text[], $5::bigint[], $6::text[], $7::text[], $8::timestamptz[], $9::text[], $10::text[])
           as n (kind, webhook_id, company, event, since, cause, sentence)
   where (n.webhook_id % 64)::int = any (array(select id from own))
  on conflict do nothing
  returning *
), queued as (
  insert into cdc.queue (webhook_id, layout, action, "time", refs)
  select s.webhook_id, l.id, 'c', a.at,
         array[null, a.company, a.id::text, a.kind,
               to_char(a.since at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"'),
               a.cause, a.event, a.sentence, a.webhook_id::text]
    from added a
    join cdc.subscription s on s.company = '' and s.event = 'webhook_notice'
    join cdc.layout l on l.id = 2147483647
   where a.company <> ''
   order by a.id
  returning id
), mailed as (
  insert into cdc.mail (contact_id, notice_id)
  select c.id, a.id
    from added a join cdc.contact c on c.company = a.company and c.confirmed_at is not null
     -- Waits for a removal and leaves that contact out, where the foreign key would fail the whole statement.
     for key share of c
), rung as (
  select pg_notify('cdc', '') from (select from queued limit 1) q where pg_notification_queue_usage() < 0.5
)
select a.kind, a.webhook_id, a.sentence, (select count(*) from rung) from added a
