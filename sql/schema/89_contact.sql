-- Contacts: addresses to which notices about a company's webhooks are mailed, once they are confirmed.
--
-- Written by `cdc contact` and the daemons that send mail. A daemon claims a contact for 5 minutes, so that no
-- other sends the same; if it is killed in between, the mail may come twice.
create table cdc.contact (
  id            bigint generated always as identity primary key,
  company       text collate "C" not null check (company <> ''),
  email         text collate "C" not null
                check (email ~ '^[A-Za-z0-9.!#$%&*+/=?^_{|}~-]+@[A-Za-z0-9-]+([.][A-Za-z0-9-]+)*$' and length(email) <= 254),
  code          text collate "C" not null unique,  -- in its mails: confirms it, and stops them
  created_at    timestamptz not null default clock_timestamp(),
  confirmed_at  timestamptz,                 -- it gets notices from then on; null: it is asked first
  invited_at    timestamptz,                 -- when the mail with the code was sent
  due_at        timestamptz not null default clock_timestamp(),  -- no mail before
  claimed_until timestamptz,
  tries         int not null default 0,      -- since the last mail
  last_error    text,
  unique (company, email)
);

-- Notices that wait to be mailed.
create table cdc.mail (
  contact_id bigint not null references cdc.contact on delete cascade,
  notice_id  bigint not null references cdc.notice on delete cascade,
  primary key (contact_id, notice_id)
);
create index mail_notice on cdc.mail (notice_id);
