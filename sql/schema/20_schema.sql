-- Schemas cdc and cdc_capture, owned by cdc_owner.
-- Needs: CREATE on the database. Locks: none on anything of the suite.
-- Refuses schemas of these names that somebody else made beforehand: who owns a schema can drop what
-- lies in it, and add functions that are called instead of ours.
do $schemas$
declare
  other record;
begin
  for other in
    select nspname, pg_catalog.pg_get_userbyid(nspowner) as owner from pg_catalog.pg_namespace
     where nspname in ('cdc', 'cdc_capture') and pg_catalog.pg_get_userbyid(nspowner) <> 'cdc_owner'
  loop
    raise exception 'schema % is there already, and belongs to %', other.nspname, other.owner
      using hint = 'Drop or rename it; cdc_owner must own it.';
  end loop;
end
$schemas$;
create schema if not exists cdc authorization cdc_owner;
create schema if not exists cdc_capture authorization cdc_owner;
grant usage on schema cdc to cdc_daemon, cdc_admin, cdc_reader, cdc_capture;
comment on schema cdc is 'Changes of the suite''s tables on their way to webhooks.';
-- The functions in it belong to the role cdc_capture, which may not even name them: who has code run
-- as this role can neither alter them (SECURITY INVOKER would make them run as whoever calls them),
-- nor give them to anybody, nor make others.
comment on schema cdc_capture is 'Functions that capture changes, generated from the mapping.';
