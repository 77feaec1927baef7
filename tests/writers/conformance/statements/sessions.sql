-- What a session does beside writing rows: transactions, roles, settings, locks. How to read it: rows.sql.

-- Savepoints

--# savepoint released
begin;
savepoint a;
update candidate set name = 'x' where id = 1;
release a;
--look
commit;

--# savepoint rolled back
begin;
update candidate set name = 'x' where id = 1;
savepoint a;
insert into candidate (project_id, name) values (10, 'new');
rollback to a;
--look
commit;

--# savepoint rolled back, nothing else | silent
begin;
savepoint a;
update candidate set name = 'x' where id <= 65;
rollback to a;
--look
commit;

--# savepoints nested
begin;
savepoint a;
update candidate set name = 'x' where id = 1;
savepoint b;
insert into candidate (project_id, name) values (10, 'new');
--look
rollback to b;
savepoint c;
update candidate set name = 'x' where id <= 64;
release a;
--look
commit;

--# savepoints nested, large
begin;
savepoint a;
update candidate set name = 'x' where id <= 65;
savepoint b;
update candidate set name = 'x' where id <= 65;
--look
rollback to b;
savepoint c;
update candidate set name = 'x' where id <= 65;
release c;
release a;
--look
commit;

--# savepoint after an error
begin;
update candidate set name = 'x' where id = 1;
savepoint a;
select 1 / 0;
--look
rollback to a;
insert into candidate (project_id, name) values (10, 'new');
--look
commit;

--# 70 savepoints | once
begin;
@70 savepoint s{};
@70 update candidate set name = 's{}' where id = {} + 1;
--look
commit;

--# error in a transaction | silent
begin;
update candidate set name = 'x' where id = 1;
insert into candidate (id) values (1);
update candidate set name = 'x' where id = 1;
--look
commit;

--# rolled back | silent
begin;
update candidate set name = 'x' where id = 1;
update candidate set name = 'x' where id <= 65;
--look
rollback;

--# committed and chained
begin isolation level repeatable read;
update candidate set name = 'x' where id = 1;
commit and chain;
insert into candidate (project_id, name) values (10, 'new');
--look
commit;

-- Two-phase commit

--# prepare transaction, commit prepared | unrung
begin;
update candidate set name = 'x' where id = 1;
insert into candidate (project_id, name) values (10, 'new');
prepare transaction 'p';
--look
commit prepared 'p';

--# prepare transaction, rollback prepared | silent | unrung
begin;
update candidate set name = 'x' where id <= 65;
prepare transaction 'p';
--look
rollback prepared 'p';

--# prepare transaction of no company | unrung
begin;
update candidate set name = 'x' where id > 200;
prepare transaction 'p';
commit prepared 'p';

--# prepare transaction, child first | unrung
begin;
set constraints all deferred;
insert into candidate (project_id) values (77);
insert into project (id, company_id) values (77, 1);
prepare transaction 'p';
commit prepared 'p';

--# prepare transaction that writes nothing | silent
begin;
select 1;
prepare transaction 'p';
--look
commit prepared 'p';

--# two-phase commit beside an armed bell | silent | bell
begin;
update candidate set name = 'x' where id = 1;
prepare transaction 'p';
commit prepared 'p';

-- Deferred constraints

--# child first
begin;
set constraints all deferred;
insert into candidate (project_id) values (77) returning id;
insert into project (id, company_id) values (77, 1);
--look
commit;

--# child first, 65 rows
begin;
set constraints all deferred;
insert into candidate (project_id) select 77 from generate_series(1, 65);
insert into project (id, company_id) values (77, 1);
--look
commit;

--# child first, grandchildren too
begin;
set constraints all deferred;
insert into rating values (900, 900, 1);
insert into candidate (id, project_id) values (900, 77);
insert into project (id, company_id) values (77, 1);
--look
commit;

--# child without its parent at COMMIT | silent
begin;
set constraints all deferred;
insert into candidate (project_id) values (77);
--look
commit;

--# set constraints immediate at the end
begin;
set constraints all deferred;
insert into candidate (project_id) values (77);
insert into project (id, company_id) values (77, 1);
set constraints all immediate;
--look
commit;

--# set constraints immediate too early | silent
begin;
set constraints all deferred;
insert into candidate (project_id) values (77);
set constraints all immediate;
--look
commit;

--# set constraints by name
begin;
set constraints candidate_project_id_fkey deferred;
insert into candidate (project_id) values (77);
insert into project (id, company_id) values (77, 1);
--look
commit;

-- Read only, isolation, other sessions

--# read only before COMMIT
begin;
update candidate set name = 'x' where id = 1;
update candidate set name = 'x' where id <= 65;
set transaction read only;
--look
commit;

--# read only before COMMIT, no company
begin;
update candidate set name = 'x' where id > 201;
set transaction read only;
--look
commit;

--# read only before COMMIT, child first | silent
begin;
set constraints all deferred;
insert into candidate (project_id) values (77);
insert into project (id, company_id) values (77, 1);
set transaction read only;
--look
commit;

--# write in a read-only transaction | silent
begin read only;
update candidate set name = 'x' where id = 1;
--look
rollback;

--# temporary table in a read-only transaction | silent
create temp table t (id int);
begin read only;
insert into t values (1);
--look
commit;

--# serializable, read and written
begin;
set transaction isolation level serializable;
select count(*) from candidate;
update candidate set name = 'x' where id = 1;
insert into candidate (project_id, name) values (10, 'new');
--look
commit;

--# repeatable read, another session between
begin;
set transaction isolation level repeatable read;
select 1;
--other update project set name = 'y' where id = 10;
update candidate set name = 'x' where id = 1;
--look
commit;

--# repeatable read, row changed by another
begin;
set transaction isolation level repeatable read;
select 1;
--other update candidate set name = 'y' where id = 1;
update candidate set name = 'x' where id = 1;
--look
commit;

--# repeatable read, parent made by another
begin;
set transaction isolation level repeatable read;
select 1;
--other insert into project (id, company_id) values (78, 1);
update candidate set project_id = 78 where id = 1;
--look
commit;

--# parent locked by another
begin;
--other begin; select from project where id = 10 for no key update;
update candidate set name = 'x' where id = 1;
--other rollback;
--look
commit;

-- Cursors and prepared statements

--# update where current of
begin;
declare c cursor for select * from candidate where id < 80 order by id for update;
fetch 2 from c;
update candidate set name = 'x' where current of c returning id;
fetch 1 from c;
--look
close c;
--look
commit;

--# cursor with hold across a write
begin;
declare c cursor with hold for select id from candidate order by id;
update candidate set name = 'x' where id = 1;
fetch 1 from c;
--look
commit;

--# cursor open across a write, scrolled
begin;
declare c scroll cursor for select id, name from candidate where id < 3 order by id;
fetch all from c;
update candidate set name = 'x' where id = 1;
fetch backward all from c;
--look
commit;

--# prepared, executed eight times
prepare p (text, bigint) as update candidate set name = $1 where id = $2 returning id;
@8 execute p ('x', {});
--look

--# prepared with a forced generic plan
set plan_cache_mode = force_generic_plan;
prepare p (bigint) as insert into candidate (project_id) select $1 from generate_series(1, 65) returning id;
execute p (10);
execute p (30);
--look

--# deallocate all
prepare p as update candidate set name = 'x' where id = 1;
execute p;
deallocate all;
--look

-- Roles and settings

--# set role
set role suite_app;
update candidate set name = 'x' where id = 1;
update candidate set name = 'x' where id <= 65;
select current_user, session_user;
--look

--# set session authorization
set session authorization suite_app;
update candidate set name = 'x' where id = 1;
insert into candidate (project_id, name) values (10, 'new');
update candidate set name = 'x' where id <= 65;
--look

--# set role in a transaction, no company
begin;
set local role suite_app;
update candidate set name = 'x' where id > 200;
--look
commit;

--# session_replication_role = replica | silent
set session_replication_role = replica;
update candidate set name = 'x' where id = 1;
update candidate set name = 'x' where id <= 65;
--look

--# discard all
update candidate set name = 'x' where id = 1;
discard all;
set search_path = public;
insert into candidate (project_id, name) values (10, 'new');
update candidate set name = 'x' where id <= 65;
--look

--# discard plans, discard sequences
insert into candidate (project_id, name) values (10, 'new');
discard plans;
update candidate set name = 'x' where id <= 65;
discard sequences;
update candidate set name = 'x' where id = 1;
--look

--# set local
begin;
set local lock_timeout = '7s';
set local enable_seqscan = off;
set local jit = on;
update candidate set name = 'x' where id = 1;
update candidate set name = 'x' where id <= 65;
--look
commit;

--# time-outs of the session
set statement_timeout = '1min';
set lock_timeout = '9s';
set idle_in_transaction_session_timeout = '1min';
update candidate set name = 'x' where id = 1;
update candidate set name = 'x' where id <= 65;
update candidate set name = 'x' where id > 200;
--look

--# search path of a stranger
create temp table candidate (id bigint, project_id bigint);
set search_path = pg_temp, public;
insert into candidate values (1, 2);
update public.candidate set name = 'x' where id < 70;
--look

--# empty search path
set search_path = '';
update public.candidate set name = 'x' where id < 70;
insert into public.candidate (project_id) values (10) returning id;
--look

--# temporary table beside
begin;
create temp table t on commit drop as select * from candidate;
update candidate set name = 'x' where id = 1;
insert into candidate (project_id) select project_id from t;
--look
commit;

--# a temporary table named as ours
create temp table queue (id int);
create temp table new_rows (id int);
create temp table unresolved (id int);
update candidate set name = 'x' where id = 1;
update candidate set name = 'x' where id <= 65;
--look

--# planner settings
set enable_nestloop = off;
set enable_indexscan = off;
set enable_bitmapscan = off;
set enable_hashjoin = off;
update candidate set name = 'x' where id = 1;
update candidate set name = 'x' where id <= 65;
--look

--# plpgsql settings
set plpgsql.variable_conflict = use_column;
set plpgsql.extra_errors = 'all';
set plpgsql.extra_warnings = 'all';
set plpgsql.print_strict_params = on;
update candidate set name = 'x' where id = 1;
update candidate set name = 'x' where id <= 65;
--look

--# row_security off
set row_security = off;
set role suite_app;
update candidate set name = 'x' where id = 1;
update candidate set name = 'x' where id <= 65;
--look

--# odd output
set datestyle = 'German, DMY';
set intervalstyle = 'iso_8601';
set bytea_output = 'escape';
set timezone = 'Asia/Kathmandu';
set extra_float_digits = -15;
update candidate set name = 'x' where id = 1;
update candidate set name = 'x' where id <= 65;
update candidate set name = 'x' where id > 200;
--look

--# work_mem at its least
set work_mem = '64kB';
update candidate set name = 'x' where id <= 65;
--look

--# setseed
select setseed(0.25);
update candidate set name = 'x' where id = 1;
update candidate set name = 'x' where id <= 65;
select random();
--look

-- Notifications and locks

--# listen and notify in one session
listen suite;
begin;
notify suite, 'first';
update candidate set name = 'x' where id = 1;
notify suite, 'second';
--look
commit;
select 1;

--# another session listens
--other listen suite;
begin;
notify suite, 'hello';
update candidate set name = 'x' where id = 1;
--look
commit;
--other select 1;

--# advisory locks
select pg_advisory_lock(4711);
begin;
select pg_advisory_xact_lock(4712);
update candidate set name = 'x' where id = 1;
update candidate set name = 'x' where id <= 65;
--look
commit;

--# explicit locks
begin;
lock table candidate in share row exclusive mode;
update candidate set name = 'x' where id = 1;
--look
commit;

--# select for share of parents
begin;
select id from project for share;
update candidate set name = 'x' where id = 1;
--look
commit;

-- DDL and the rest

--# alter table after a write | silent
begin;
update candidate set name = 'x' where id = 1;
alter table candidate add column more int;
update candidate set more = 1 where id < 70;
--look
rollback;

--# truncate after a write
begin;
insert into candidate (project_id, name) values (10, 'new');
truncate rating, note, ticket, candidate;
insert into candidate (project_id) values (10);
--look
commit;

--# alter a parent after a write | silent
begin;
update candidate set name = 'x' where id = 1;
alter table project add column more int;
update candidate set name = 'x' where id = 1;
--look
rollback;

--# new partition | silent
begin;
create table rating_more partition of rating for values from (6) to (9);
insert into rating values (900, 1, 7);
--look
rollback;

--# create table as, then write | silent
begin;
create table aside as select * from candidate;
update candidate set name = 'x' where id = 1;
--look
rollback;

--# alter table on rows that wait | silent
begin;
set constraints all deferred;
insert into candidate (project_id) values (77);
insert into project (id, company_id) values (77, 1);
alter table audit add column more int;
--look
rollback;

--# vacuum between writes
update candidate set name = 'x' where id = 1;
vacuum candidate;
update candidate set name = 'x' where id = 1;
--look

--# several statements in one message
update candidate set name = 'x' where id = 1; insert into candidate (project_id) values (10) returning id; select
  lastval();
--look

