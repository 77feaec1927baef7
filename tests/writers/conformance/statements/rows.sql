-- What a writer does in one transaction: each is run in every way a client can send it (model.py).
--
--   --# name | options     begins one. {n}: for 1, 64 and 65 rows (up to 64 go one way in capture, more another)
--   ...;                   a step ends with the line that ends with a semicolon; @3 before it: three times, {} is 0, 1, 2
--   --look                 look here, too. What holds such a line begins and ends its own transactions, and is run as it stands
--   --other ...;           another session does something
--   --before ...;          rows that are there already
--   --types ...            of a binary COPY; the rows of a COPY follow it, up to \.
--
-- Options: since 17 (PostgreSQL), silent (nothing is captured of it), once (with webhooks, one way),
-- unrung (with the bell silent), bell (with the bell armed).

-- INSERT

--# insert
insert into candidate (project_id, name) values (10, 'new');

--# insert returning
insert into candidate (project_id, stars) values (10, 3) returning id, stars, twice, tableoid::regclass::text;

--# insert of two rows
insert into project (company_id) values (1), (2) returning id;

--# insert default values
insert into candidate default values returning id;

--# insert select, {n} rows
insert into candidate (project_id, name) select 10, 'new' || g from generate_series(1, {n}) g;

--# insert select of no company, {n} rows
insert into candidate (project_id) select 30 from generate_series(1, {n});

--# insert select of no parent, {n} rows
insert into candidate (name) select 'alone' from generate_series(1, {n});

--# insert overriding an identity
insert into note (id, candidate_id, text) overriding system value values (50, 1, 'mine');

--# insert into a serial's table
insert into ticket (candidate_id) values (1) returning id;

--# insert, then lastval()
insert into candidate (project_id) values (10);
select lastval(), currval('candidate_id_seq');

--# insert into a table that is not captured | silent
insert into audit (what) values ('x');

--# insert of no rows | silent
insert into candidate (project_id) select 10 where false;

--# insert that breaks a check | silent
insert into candidate (project_id, stars) values (10, 9);

--# insert that breaks a foreign key | silent
insert into candidate (project_id) values (99);

--# insert of a key that is taken | silent
insert into candidate (id, project_id) values (1, 10);

--# insert that fails in its last row | silent
insert into candidate (project_id, stars) select 10, g from generate_series(1, 6) g;

-- COPY

--# copy, one row
copy candidate (project_id, name) from stdin;
10	x
\.

--# copy, 65 rows
copy candidate (project_id, name) from stdin;
@65 10	x{}
\.

--# copy binary, another partition too
copy rating (id, candidate_id, stars) from stdin (format binary);
--types int8 int8 int4
@20 50{}	1	3
9000	2	5
\.

--# copy of no rows | silent
copy candidate (project_id) from stdin;
\.

--# copy that fails | silent
copy candidate (id, project_id) from stdin;
900	10
1	10
\.

--# copy out of a writing query
copy (update candidate set name = 'x' where id = 1 returning id, name) to stdout;

--# copy beside triggers of the suite
copy note (candidate_id, text) from stdin;
1	x
2	skip
\.

-- UPDATE

--# update
update candidate set name = 'x' where id = 1;

--# update, {n} rows
update candidate set name = 'x' where id <= {n};

--# update returning, {n} rows
update candidate set stars = 1 where id <= {n} returning id, stars, twice;

--# update of no rows | silent
update candidate set name = 'x' where id = 0;

--# update that changes nothing
update candidate set name = name where id = 1;

--# update to null parents
update candidate set project_id = null where id < 4;

--# update of rows without a company
update candidate set name = 'x' where id in (202, 203);

--# update of a generated column's source
update candidate set stars = 5 where id = 1 returning twice;

--# update from
update candidate c set name = p.name from project p where p.id = c.project_id and c.id < 5;

--# update of a key that cascades
--before delete from candidate where id > 70;
update project set id = 12 where id = 10;

--# update that moves a row to another partition
update rating set stars = 5 where id = 3 returning id, tableoid::regclass::text;

--# update of rows in two partitions
update rating set stars = 6 - stars where id > 90 returning id, stars;

--# update of a partition by name
update rating_low set candidate_id = 2 where id = 3;

--# update out of a partition by name | silent
update rating_low set stars = 5 where id = 3;

--# update that breaks a check | silent
update candidate set stars = 9 where id < 70;

--# update returning old and new | since 18
update candidate set name = 'x' where id = 1 returning old.name, new.name;

--# update returning command ids
update candidate set name = 'x' where id = 1;
update candidate set name = 'y' where id = 2 returning cmin::text, cmax::text;

--# update twice of the same row
update candidate set name = 'x' where id = 1;
update candidate set name = 'y' where id = 1 returning name;

--# explain analyze
explain (analyze, costs off, timing off, summary off, buffers off) update candidate set name = 'x' where id = 1;

-- DELETE

--# delete | silent
delete from candidate where id = 190 returning id;

--# delete that cascades | silent
delete from project where id = 11;

--# delete that sets null
--before delete from ticket;
delete from candidate where id = 5;

--# delete that is refused | silent
delete from candidate where id = 5;

--# delete that nulls the company
delete from company where id = 1;

--# truncate | silent
truncate note;

--# truncate restart identity cascade | silent
truncate project restart identity cascade;

-- INSERT ON CONFLICT

--# upsert do nothing
insert into candidate (id, project_id) values (1, 10), (900, 10) on conflict do nothing returning id;

--# upsert do nothing at all | silent
insert into candidate (id, project_id) values (1, 10) on conflict do nothing;

--# upsert do update
insert into candidate (id, project_id, name) values (1, 10, 'x'), (900, 10, 'y') on conflict (id) do update set name =
  excluded.name returning id, name, (xmax = 0);

--# upsert do update where
insert into candidate (id, project_id, name) values (1, 10, 'x'), (2, 10, 'y') on conflict (id) do update set name =
  excluded.name where candidate.id = 1 returning id;

--# upsert do update, {n} rows
insert into candidate (id, project_id) select 300 - {n} / 2 + g, 10 from generate_series(1, {n}) g on conflict (id) do
  update set name = 'again';

--# upsert twice of one row | silent
insert into candidate (id) values (900), (900) on conflict (id) do update set name = 'x';

-- MERGE

--# merge insert
merge into candidate c using (select g, 10 as p from generate_series(180, 220) g) s on c.id = s.g
  when not matched then insert (id, project_id) values (s.g, s.p);

--# merge update
merge into candidate c using (select g, 10 as p from generate_series(180, 220) g) s on c.id = s.g
  when matched then update set name = 'merged';

--# merge delete | silent
merge into candidate c using (select g, 10 as p from generate_series(180, 220) g) s on c.id = s.g
  when matched and c.id = 190 then delete;

--# merge do nothing | silent
merge into candidate c using (select g, 10 as p from generate_series(180, 220) g) s on c.id = s.g
  when matched then do nothing
  when not matched then do nothing;

--# merge with all of them
merge into candidate c using (select g, 10 as p from generate_series(180, 220) g) s on c.id = s.g
  when matched and c.id < 185 then delete
  when matched and c.id = 185 then do nothing
  when matched then update set name = 'merged'
  when not matched and s.g > 210 then do nothing
  when not matched then insert (id, project_id) values (s.g, s.p);

--# merge, {n} rows
merge into candidate c using generate_series(1, {n}) g on c.id = g
  when matched then update set name = 'merged'
  when not matched then insert (id, project_id) values (g, 10);

--# merge that moves rows to another partition
merge into rating r using (values (1), (3), (900)) s (id) on r.id = s.id
  when matched then update set stars = 5
  when not matched then insert values (s.id, 1, 5);

--# merge that only moves rows | silent
merge into rating r using (values (1), (3)) s (id) on r.id = s.id
  when matched then update set stars = 5;

--# merge into a partition
merge into rating_low r using (values (1), (3)) s (id) on r.id = s.id
  when matched then update set candidate_id = 2;

--# merge not matched by source | since 17
merge into candidate c using (select g, 10 as p from generate_series(180, 220) g) s on c.id = s.g
  when not matched by source and c.id < 5 then update set name = 'left';

--# merge returning | since 17
merge into candidate c using (select g, 10 as p from generate_series(180, 220) g) s on c.id = s.g
  when matched and c.id = 190 then delete
  when matched then update set name = 'm'
  when not matched then insert (id, project_id) values (s.g, s.p) returning merge_action(), c.id;

--# merge into a view | since 17
merge into starred c using (values (1), (900)) s (id) on c.id = s.id
  when matched then update set name = 'm'
  when not matched then insert (id, project_id, stars) values (s.id, 10, 1);

--# merge that fails | silent
merge into candidate c using (values (1), (1)) s (id) on c.id = s.id
  when matched then update set name = 'm';

-- Writing CTEs

--# writing CTE, two tables
with c as (insert into candidate (project_id) values (10) returning id) insert into rating select id, id, 2 from c
  returning id, candidate_id;

--# writing CTE, three tables and a delete
with a as (update project set name = 'x' where id = 10 returning id), b as (delete from note where id = 1 returning
  id), c as (insert into ticket (candidate_id) values (3) returning id) update candidate set name = 'x' where
  project_id in (select id from a) and id < 5 returning id;

--# writing CTE, one table twice
with a as (update candidate set name = 'x' where id = 1 returning id), b as (update candidate set name = 'y' where id
  = 2 returning id), c as (insert into candidate (project_id) values (10) returning id) insert into candidate
  (project_id) select 10 from a, b returning id;

--# writing CTE that is only read
with a as (update candidate set name = 'x' where id < 80 returning id) select count(*), sum(id) from a;

--# writing CTE, one row twice
with a as (update candidate set name = 'x' where id = 1 returning id) update candidate set name = 'y' where id = 1
  returning name;

--# select for update, then update
select id from candidate where id < 3 for update;
update candidate set name = 'x' where id < 3;

-- Views and rules

--# insert into a view
insert into starred (project_id, stars) values (10, 2) returning id;

--# update of a view
update starred set name = 'v' where id < 4 returning id, name;

--# update of a view against its check | silent
update starred set stars = null where id = 1;

--# insert into a view with INSTEAD OF
insert into person (name, project) values ('p', 'ten') returning id, name;

--# update of a view with INSTEAD OF
update person set name = 'p' where id < 4;

--# update of a table with rules
update ticket set state = 'closed' where id < 4;

--# delete from a table with rules | silent
delete from ticket where id < 4;

-- The suite's triggers

--# insert beside triggers of the suite
insert into note (candidate_id, text) values (1, 'a'), (2, 'b') returning id, changes;

--# update beside triggers of the suite
update note set text = text || '!' where id < 4 returning changes;

--# update that a trigger skips | silent
update note set text = 'skip' || id where id < 3;

--# insert that a trigger refuses | silent
insert into note (candidate_id, text) values (1, 'a'), (1, 'refuse');

--# insert that a trigger refuses afterwards | silent
insert into note (candidate_id, text) values (1, 'late');

--# a setting that a trigger makes
update note set text = 'x' where id = 1;
select current_setting('suite.writer', true);

-- The suite's functions

--# FOUND and ROW_COUNT in a function
select * from rename(1, 'x');
select * from rename(0, 'x');

--# ROW_COUNT of EXECUTE
select * from report('update candidate set name = name where id < 80');
select * from report('insert into candidate (project_id) select 10 where false');

--# exception block
select guarded('update candidate set name = ''x'' where id = 1', 'insert into candidate (id) values (1)',
  'select 1 / 0');

--# exception block, large
select guarded('update candidate set name = ''x'' where id <= 65');

--# DO block with exceptions in a loop
do $$ begin for g in 1 .. 20 loop begin update candidate set name = 'x' where id = g; if g % 2 = 0 then raise 'odd';
  end if; exception when raise_exception then null; end; end loop; end $$;

--# procedure that commits
call in_steps(5);
--look

--# GET DIAGNOSTICS context
do $$ declare c text; begin update candidate set name = 'x' where id = 1; get diagnostics c = pg_context; raise notice
  '%', c; end $$;

--# function in RETURNING
update candidate set name = 'x' where id = 1 returning (select was_found from rename(2, 'y')), pg_trigger_depth();

-- Many rows

--# insert select, 100000 rows | once
insert into candidate (project_id, name) select 10, 'b' || g from generate_series(1, 100000) g;

--# copy, 100000 rows | once
copy candidate (project_id, name) from stdin;
@100000 10	copied {}
\.

--# update, 100000 rows | once
--before insert into candidate (project_id, name) select 10, 'b' || g from generate_series(1, 100000) g;
update candidate set name = 'x';

