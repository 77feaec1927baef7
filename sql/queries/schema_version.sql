-- preflight: the version of schema cdc. Fails where that is not installed.
select max(version_num) from cdc.schema_version
