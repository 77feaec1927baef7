-- The version of this schema, in the form in which Alembic keeps it, so that `cdc migrate` continues
-- from an installation made with psql.
create table cdc.schema_version (
  version_num varchar(32) not null,
  constraint schema_version_pkc primary key (version_num)
);
insert into cdc.schema_version (version_num) values ('0002');
