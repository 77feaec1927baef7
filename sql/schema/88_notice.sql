-- Notices: when a webhook needs attention, and when it no longer does.
--
-- Written by the daemon that owns the webhook's shard, once a minute and only where something has begun or
-- ended. Deleted after CDC_LOG_DAYS, but for the newest of each kind of a webhook: a state that lasts
-- longer is not reported again.
create table cdc.notice (
  id          bigint generated always as identity primary key,
  at          timestamptz not null default clock_timestamp(),
  kind        text not null
              check (kind in ('failing', 'suspending', 'suspended', 'recovered', 'dead', 'expiring')),
  webhook_id  bigint not null,
  company     text collate "C" not null,
  event       text collate "C",             -- of the delivery that the cause is of
  since       timestamptz not null,         -- when it began; of recovered: what is over now
  cause       text not null,                -- such as 'status 503' (cdc/causes); '' where there is none
  sentence    text not null,
  unique (webhook_id, kind, since)
);
create index notice_company on cdc.notice (company, id);

-- Webhooks of the system, which belong to the company '', get each notice as a delivery of this layout. The last
-- reference is what order is kept for.
insert into cdc.layout (id, event, fields) values
  (2147483647, 'webhook_notice', '{base,company,notice,kind,since,cause,event,sentence,webhook}');
