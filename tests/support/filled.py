"""SQL that fills our tables: a long queue, many retries and dead deliveries, a log."""

from __future__ import annotations

HOOKS = 200
QUEUED = 100_000
RETRIED = 20_000
PARKED = 20_000

FILL = f"""
insert into cdc.webhook (company, endpoint)
select '1', 'https://abc.com/' || g from generate_series(1, {HOOKS}) g;
update cdc.webhook set state = 'paused', since = now() - interval '20 days' where id = 7;
update cdc.webhook set state = 'removed' where id = 8;
insert into cdc.webhook_secret (webhook_id, secret)
select id, 'whsec_' || id from cdc.webhook;
insert into cdc.backfill (webhook_id, event, action, actor, state, place)
select 1 + g % 200, 'candidate_changed', 'c', 'me',
       case when g <= 10 then 'running' else 'done' end, '{{1,5}}'
  from generate_series(1, 1000) g;
insert into cdc.task (kind, state, actor, webhook_id, request, created_at)
select 'test', case when g <= 10 then 'waiting' else 'done' end, 'me', 1 + g % 200,
       '{{"events": ["candidate_changed"]}}', now() - g * interval '1 second'
  from generate_series(1, 10000) g;
insert into cdc.lane (webhook_id, failures) select id, id % 2 from cdc.webhook;
update cdc.lane set failing_since = now() - interval '1 hour' where webhook_id <= 20;
insert into cdc.notice (at, kind, webhook_id, company, since, cause, sentence)
select now() - g * interval '1 hour', 'failing', 1 + g % {HOOKS}, '1',
       now() - g * interval '1 hour', '', ''
  from generate_series(1, 10000) g;
insert into cdc.contact (company, email, code, confirmed_at)
select g::text, 'it@example.com', g::text, now() from generate_series(1, 100) g;
insert into cdc.mail select 1 + n.id % 100, n.id from cdc.notice n;
insert into cdc.queue (webhook_id, layout, action, "time", refs)
select 1 + g % {HOOKS}, l.id, case g % 5 when 0 then 'c' else 'm' end::"char",
       clock_timestamp(), array[null, '1', '1', (g % 1000)::text]
  from generate_series(1, {QUEUED}) g, (select id from cdc.layout order by id limit 1) l;
-- One in a hundred is due, most are due later, some are parked.
insert into cdc.retry (webhook_id, id, uid, xid, layout, action, "time", refs, event, key, body,
                       tries, due_at)
select 1 + g % 20, g, gen_random_uuid(), '1', 1, 'm', now(), '{{}}', 'candidate_changed', g::text,
       'x', 1, case when g % 100 = 0 then now() - interval '1 hour'
                    when g % 10 <> 1 then now() + interval '1 day' end
  from generate_series(1, {RETRIED}) g;
-- One row of the suite that is changed all the time, behind its failed delivery.
insert into cdc.retry (webhook_id, id, uid, xid, layout, action, "time", refs, event, key)
select 4, {RETRIED} + g, gen_random_uuid(), '1', 1, 'm', now(), '{{}}', 'candidate_changed', 'hot'
  from generate_series(1, {PARKED}) g;
insert into cdc.dead (webhook_id, id, uid, xid, layout, action, "time", refs, event, key, attempts,
                      tries, died_at)
select 1 + g % 20, g, gen_random_uuid(), '1', 1, 'm', now(), '{{}}', 'candidate_changed', g::text,
       1, 1, now() - (g % 28) * interval '1 day'
  from generate_series(1, {RETRIED}) g;
insert into cdc.attempt (slot, at, delivery, uid, webhook_id, layout, action, "time", refs, try,
                         outcome, xid)
select g % 20, now(), g, gen_random_uuid(), 1 + g % 20, 1, 'm', now(), '{{}}', 1, 'delivered', '1'
  from generate_series(1, {RETRIED}) g;
insert into cdc.unresolved (resource, source, key, action, "time", reason, tries, retry_at)
select 'rating', 'rating', g::text, 'c', now(), 'x', 1, now() + interval '1 hour'
  from generate_series(1, {RETRIED}) g;
"""
