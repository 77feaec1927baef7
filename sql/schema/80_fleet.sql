-- The fleet: which daemon owns which webhooks, and how their lanes are doing.

-- A webhook belongs to shard id modulo 64. A daemon owns a shard by a session advisory lock; the epoch,
-- raised at every take-over, fences off an owner that does not know yet that it lost it: every
-- settlement holds the epoch FOR SHARE and does nothing if it is not its own.
create table cdc.shard (
  id        smallint primary key check (id between 0 and 63),
  epoch     bigint not null default 0,
  owner     text not null default '',        -- host and process, for people
  since     timestamptz
);
insert into cdc.shard (id) select generate_series(0, 63);

-- A lane's state, written at transitions only (opened, closed, slowed down, acknowledged), by the
-- owner, for people and for the next owner.
create table cdc.lane (
  webhook_id     bigint primary key references cdc.webhook on delete cascade,
  breaker        text not null default 'closed' check (breaker in ('closed', 'open', 'probing')),
  since          timestamptz not null default clock_timestamp(),
  failures       int not null default 0,
  failing_since  timestamptz,                -- no success since; null: none failing
  last_error     text,
  version        bigint not null default 0,  -- the registration's version the owner acts on
  slow_until     timestamptz                 -- the receiver wants to be left alone until then
);
