-- As `rails db:schema:load` makes it (PostgreSQL, config.generators.orm primary_key_type: :uuid): keys by
-- gen_random_uuid(), an enum type, one table for several classes (STI, column "type"), timestamps without
-- time zone of six digits.
create table "schema_migrations" ("version" character varying not null primary key);
create table "ar_internal_metadata" (
  "key" character varying not null primary key, "value" character varying,
  "created_at" timestamp(6) without time zone not null, "updated_at" timestamp(6) without time zone not null);

create type public.application_status as enum ('applied', 'screening', 'hired');

create table "accounts" (
  "id" uuid default gen_random_uuid() not null primary key, "name" character varying, "host" character varying,
  "created_at" timestamp(6) without time zone not null, "updated_at" timestamp(6) without time zone not null);
create table "people" (
  "id" uuid default gen_random_uuid() not null primary key, "type" character varying not null,
  "account_id" uuid not null, "name" character varying,
  "created_at" timestamp(6) without time zone not null, "updated_at" timestamp(6) without time zone not null);
create table "jobs" (
  "id" uuid default gen_random_uuid() not null primary key, "account_id" uuid not null,
  "title" character varying, "applications_count" integer default 0 not null, "lock_version" integer default 0,
  "created_at" timestamp(6) without time zone not null, "updated_at" timestamp(6) without time zone not null);
create table "applications" (
  "id" uuid default gen_random_uuid() not null primary key, "job_id" uuid not null, "person_id" uuid not null,
  "status" application_status default 'applied'::application_status not null,
  "created_at" timestamp(6) without time zone not null, "updated_at" timestamp(6) without time zone not null);
create index "index_people_on_account_id" on "people" using btree ("account_id");
create index "index_jobs_on_account_id" on "jobs" using btree ("account_id");
create index "index_applications_on_job_id" on "applications" using btree ("job_id");
create unique index "index_applications_on_job_id_and_person_id" on "applications" ("job_id", "person_id");
alter table "people" add constraint "fk_rails_1" foreign key ("account_id") references "accounts" ("id");
alter table "jobs" add constraint "fk_rails_2" foreign key ("account_id") references "accounts" ("id");
alter table "applications" add constraint "fk_rails_3" foreign key ("job_id") references "jobs" ("id");
alter table "applications" add constraint "fk_rails_4" foreign key ("person_id") references "people" ("id");
