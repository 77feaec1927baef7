-- Schemas cdc and cdc_capture, owned by cdc_owner.
-- Needs: CREATE on the database. Locks: none on anything of the suite.
create schema if not exists cdc authorization cdc_owner;
create schema if not exists cdc_capture authorization cdc_owner;
grant usage on schema cdc to cdc_daemon, cdc_admin, cdc_reader, cdc_capture;
comment on schema cdc is 'Changes of the suite''s tables on their way to webhooks.';
-- The functions in it belong to the role cdc_capture, which may not even name them: who has code run
-- as this role can neither alter them (SECURITY INVOKER would make them run as whoever calls them),
-- nor give them to anybody, nor make others.
comment on schema cdc_capture is 'Functions that capture changes, generated from the mapping.';
