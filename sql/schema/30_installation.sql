-- What is installed here: one row.
--
-- Written by `cdc migrate` (identity), `cdc triggers install` (mapping), `cdc adopt` (identity),
-- the daemon (log_pruned).
-- Read by the daemon at its start: it refuses to run with another mapping than the installed one,
-- and in another database than the one it was installed in (a copy of production must not POST).
create table cdc.installation (
  only_one           boolean primary key default true check (only_one),
  system_identifier  bigint not null,      -- pg_control_system(): the server's own identity
  database_oid       oid not null,         -- distinguishes copies by CREATE DATABASE ... TEMPLATE
  mapping            text,                 -- fingerprint of the installed mapping; null before
  mapping_source     text,                 -- the mapping's file, as it was installed
  mapped_at          timestamptz,
  serves             text not null default '0001', -- programs of this version and newer can use this schema
  -- The highest transaction of a delivery that pruning has removed from the log: a list of what was owed
  -- that continues below it has a gap.
  log_pruned         xid8 not null default '0'
);

insert into cdc.installation (system_identifier, database_oid)
select c.system_identifier, d.oid
  from pg_control_system() c, pg_database d
 where d.datname = current_database();

-- What the references of a queue row mean. A capture function writes the id of its layout into every
-- row, so rows that were queued under an earlier mapping still say what they hold.
-- Written by `cdc triggers install`, never updated. Read by the daemon.
create table cdc.layout (
  id      int primary key,               -- derived from event and fields, the same everywhere
  event   text not null,
  fields  text[] not null check (cardinality(fields) >= 3),
  unique (event, fields)
);
