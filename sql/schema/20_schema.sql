-- Schemas cdc and cdc_capture, owned by cdc_owner.
-- Needs: CREATE on the database. Locks: none on anything of the suite.
-- Refuses schemas of these names that another role made beforehand: a schema's owner can drop what is
-- in it, and add functions that are called instead of ours.
do $schemas$
declare
  other record;
begin
  for other in
    select nspname, pg_catalog.pg_get_userbyid(nspowner) as owner from pg_catalog.pg_namespace
     where nspname in ('cdc', 'cdc_capture') and pg_catalog.pg_get_userbyid(nspowner) <> 'cdc_owner'
  loop
    raise exception 'schema % exists already, and belongs to %', other.nspname, other.owner
      using hint = 'Drop or rename it; cdc_owner must own it.';
  end loop;
end
$schemas$;
-- Refuses where a publication for all tables would take ours along: a subscriber that has no such tables
-- stops at their first change, and signing secrets are among them. To install nevertheless:
-- set cdc.publish = 'yes'
-- Names the event triggers of others, which run at what follows.
do $others$
declare
  other record;
begin
  for other in
    select pubname from pg_catalog.pg_publication
     where puballtables and pg_catalog.to_regclass('cdc.schema_version') is null
       and pg_catalog.current_setting('cdc.publish', true) is distinct from 'yes'
  loop
    raise exception 'publication % is for all tables, and would send those of schema cdc too', other.pubname
      using hint = 'A subscriber that has no such tables stops at their first change, with all that it replicates, and'
        ' signing secrets are among them. docs/database.md, "Logical replication", says what to do before.'
        ' To install nevertheless: `cdc migrate --yes`, or set cdc.publish = ''yes''';
  end loop;
  for other in
    select evtname, evtfoid::regprocedure as function, pg_catalog.pg_get_userbyid(evtowner) as owner
      from pg_catalog.pg_event_trigger where evtenabled in ('O', 'A')
  loop
    raise notice 'event trigger % (function %, owner %) runs at this; where it refuses: alter event trigger % disable',
      other.evtname, other.function, other.owner, other.evtname;
  end loop;
end
$others$;
create schema if not exists cdc authorization cdc_owner;
create schema if not exists cdc_capture authorization cdc_owner;
grant usage on schema cdc to cdc_daemon, cdc_admin, cdc_reader, cdc_capture, cdc_serve;
comment on schema cdc is 'Changes of the suite''s tables on their way to webhooks.';
-- The functions in it belong to the role cdc_capture, which may not even name them: code that runs as
-- this role can neither alter them (SECURITY INVOKER would make them run as their caller), nor give
-- them to another role, nor make others.
comment on schema cdc_capture is 'Functions that capture changes, generated from the mapping.';
