-- preflight: what is installed, and whether it is in the database where it was installed.
--
-- serves: the oldest program version that the schema serves. mapping: fingerprint of the mapping whose
-- triggers are installed; null: none. here: false in a copy of the database.
select (select max(version_num) from cdc.schema_version) as version, i.serves, i.mapping,
       i.system_identifier = c.system_identifier and i.database_oid = d.oid as here
  from cdc.installation i, pg_control_system() c, pg_database d
 where d.datname = current_database()
