-- Installs schema cdc with psql alone, as one transaction:
--
--   psql -X -v ON_ERROR_STOP=1 -f sql/install.sql "$CDC_DATABASE_URL"
--
-- The same as `cdc migrate` does on an empty database (a test holds the two equal). No table of the
-- suite is touched, and no lock taken that blocks a session. Afterwards: sql/triggers.sql.
\set ON_ERROR_STOP on
begin;
-- No nextval(text) in schema public gets into a default of ours. The others: what the database or this
-- role may have set for its sessions.
set local search_path = pg_catalog, pg_temp;
set local quote_all_identifiers = off;
set local standard_conforming_strings = on;
set local default_table_access_method = heap;
\ir schema/10_roles.sql
\ir schema/20_schema.sql
set local role cdc_owner;
\ir schema/25_version.sql
\ir schema/30_installation.sql
\ir schema/40_registry.sql
\ir schema/50_queue.sql
\ir schema/60_retry.sql
\ir schema/70_attempt.sql
\ir schema/80_fleet.sql
\ir schema/85_unresolved.sql
\ir schema/87_serve.sql
\ir schema/88_backfill.sql
\ir schema/88_notice.sql
\ir schema/89_contact.sql
\ir schema/89_owed.sql
\ir schema/90_grants.sql
\ir schema/95_policies.sql
commit;
