-- Schema cdc, owned by cdc_owner.
-- Needs: CREATE on the database. Locks: none on anything of the suite.
create schema if not exists cdc authorization cdc_owner;
grant usage on schema cdc to cdc_daemon, cdc_admin, cdc_reader;
comment on schema cdc is 'Changes of the suite''s tables on their way to webhooks.';
