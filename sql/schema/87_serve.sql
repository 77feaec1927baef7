-- `cdc serve`: keys of its API, who changed what, answers that are repeated, tasks; and registrations as
-- they may be shown.
--
-- Written by `cdc serve` and, apart from answers and tasks, by the command line.

-- A registration without what is secret in it: `***` instead of the endpoint's user and password, and of
-- the values of headers. What the API and most commands read.
create view cdc.registration as
select id, company, regexp_replace(endpoint, '^(https?://)[^/?#]*@', '\1***@') as endpoint, description,
       state, reason, since, max_concurrency, rate_limit,
       case when headers = '{}' then headers
            else (select jsonb_object_agg(name, '***') from jsonb_object_keys(headers) name) end as headers,
       created_at, version, tls_profile, ref, unverified_since
  from cdc.webhook;

-- Keys of the API. The key itself is shown once, when it is made; kept is a SHA-256 of its secret, which is
-- random and long: no password, so nothing slower is needed.
create table cdc.api_key (
  id           text collate "C" primary key check (id ~ '^[a-z2-7]{12}$'),
  digest       bytea not null check (octet_length(digest) = 32),
  scope        text not null
               check (scope ~ '^(admin|operator|read|company:.{1,200}|webhook:[1-9][0-9]{0,18})$'),
  description  text not null default '',
  created_at   timestamptz not null default clock_timestamp(),
  created_by   text not null,
  expires_at   timestamptz,
  revoked_at   timestamptz,
  last_used_at timestamptz                -- written once a minute at most
);

-- Who changed what: a row in the transaction of each change, without anything secret. Never changed or
-- deleted by us.
create table cdc.audit (
  id         bigint generated always as identity primary key,
  at         timestamptz not null default clock_timestamp(),
  account    text not null default session_user,   -- of the database
  actor      text not null,                -- key:<id>, or cli:<user>@<host>
  source     text not null default '',     -- the client's address
  request    text not null default '',     -- X-Request-Id of the API's answer
  action     text not null,                -- such as webhook.update
  company    text collate "C",
  webhook_id bigint,
  before     jsonb,
  after      jsonb
);
create index audit_company on cdc.audit (company, id);
create index audit_webhook on cdc.audit (webhook_id, id);

-- Answers to requests with an Idempotency-Key, for 24 hours: a repeat gets the same. The answer is encrypted
-- with a key made of the API key's secret, which only its holder has.
create table cdc.idempotency (
  key_id     text collate "C" not null,     -- of the API key; of a form of the console, session:<id>
  name       text collate "C" not null,     -- the Idempotency-Key
  route      text collate "C" not null,
  digest     bytea not null,                -- of the request's path and body
  status     smallint,
  answer     bytea,
  created_at timestamptz not null default clock_timestamp(),
  primary key (key_id, name, route)
);
create index idempotency_age on cdc.idempotency (created_at);

-- What takes longer than a request. A replay is carried out by any process of `cdc serve`, in steps: its worker
-- holds an advisory lock, so one whose process ended is taken by another. The test of a webhook is sent by the
-- daemon that owns the webhook's shard: `cdc serve` has no secret, and connects to no endpoint.
create table cdc.task (
  id         uuid primary key default gen_random_uuid(),
  kind       text not null check (kind in ('replay', 'test')),
  state      text not null default 'waiting'
             check (state in ('waiting', 'running', 'done', 'cancelled', 'failed')),
  actor      text not null,
  company    text collate "C",              -- null: of several companies
  webhook_id bigint,
  request    jsonb not null,
  total      bigint,
  done       bigint not null default 0,
  changed    bigint not null default 0,
  error      text,
  created_at timestamptz not null default clock_timestamp(),
  ended_at   timestamptz,
  result     jsonb                          -- of a test that was sent
);
create index task_open on cdc.task (created_at) where state in ('waiting', 'running');
create index task_test on cdc.task (webhook_id, created_at) where kind = 'test';

-- People who are signed in: to the console, with a key or by OpenID Connect, or to the portal, by a link. Of
-- the session's secret, which is in their cookie, a SHA-256 is kept. Signing out deletes the row. A link that
-- waits to be opened is such a row, too; opening it replaces the row.
create table cdc.session (
  id         text collate "C" primary key check (id ~ '^[a-z2-7]{12}$'),
  digest     bytea not null check (octet_length(digest) = 32),
  key_id     text collate "C" references cdc.api_key on delete cascade,
  created_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz not null,
  person     text,  -- of the OpenID Connect provider, or the portal's; null: signed in with the key
  scope      text check (scope in ('admin', 'operator', 'read') or scope like 'company:_%'),  -- of a person
  may        text[],  -- of the portal, beside looking: test, replay, manage; null: what the scope allows
  is_link    boolean not null default false,
  check (num_nonnulls(key_id, person) = 1 and num_nonnulls(key_id, scope) = 1)
);
create index session_key on cdc.session (key_id);

-- Names of companies of the suite, where the mapping says which column has them: of these keys (null: of all),
-- and of those whose key or name begins with a prefix; 50 at most. None where capture is not installed.
-- Called by `cdc serve`. Calls the generated cdc_capture.company_names, which reads a table of the suite and so
-- runs what its owner may have hidden there: call it in a session of its own (see cdc.resolve).
create function cdc.company_names(keys text[], prefix text, most int)
returns table (key text, name text)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set jit = off
set row_security = on
set lock_timeout = '1s'  -- a table of the suite that is locked
as $$
begin
  if to_regprocedure('cdc_capture.company_names(text[], text, int)') is not null then
    return query execute 'select f.key, f.name from cdc_capture.company_names($1, $2, $3) f'
      using keys, prefix, least(most, 50);
  end if;
end
$$;
