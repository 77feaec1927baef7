-- What the suite holds before a webhook is registered; changes of it from then on are captured.
alter table candidate add status text not null default 'new';
insert into company (id, name) values (1, 'Acme'), (2, 'Blue Harbor'), (3, 'Cobalt Works'), (4, 'Dune');
insert into customer (id, company_id, name) values (1, 1, 'Ann'), (2, 2, 'Ben');
insert into project (id, company_id, name)
values (10, 1, 'Trainees'), (20, 2, 'Sailors'), (30, 3, 'Smiths'), (40, 4, 'Diggers');
insert into candidate (id, project_id, name) select 1000 + n, 10, 'Applicant ' || n from generate_series(1, {bulk}) n;
insert into candidate (id, project_id, name) values (21, 20, 'Carl');
insert into rating (id, candidate_id, customer_id, stars) values (91, 21, 2, 3);

-- live: A project is created, and then renamed
-- Each change comes as a signed POST. Milliseconds: from the statement, its COMMIT included.
insert into project (id, company_id, name) values (17, 1, 'Engineer')
update project set name = 'Senior engineer' where id = 17

-- live: A candidate applies, is interviewed, and corrects the name
-- One webhook wants only that the status becomes interviewed, and its value (--when, --filter, --include).
insert into candidate (id, project_id, name) values (19, 17, 'Dora')
update candidate set status = 'interviewed' where id = 19
update candidate set name = 'Dora D.' where id = 19

-- live: An answer on video
-- A question alone has no event: nothing is sent for it.
insert into question (id, project_id, name) values (123, 17, 'Why us?')
insert into answervideo (id, candidate_id, question_id) values (7, 19, 123)
update answervideo set seconds = 58 where id = 7

-- live: A rating, and second thoughts
-- Two webhooks of this company want ratings.
insert into rating (id, candidate_id, customer_id, stars) values (9, 19, 1, 4)
update rating set stars = 5 where id = 9

-- live: Two notes, one on the video and one on the candidate
-- The first finds its candidate by its video; the second has none, so the payload says null.
insert into note (id, customer_id, answervideo_id, text) values (4, 1, 7, 'Hm')
insert into note (id, customer_id, candidate_id, text) values (5, 1, 19, 'Call')
update note set text = 'Very clear' where id = 4

-- live: Changes that no webhook wants
-- Dune has no webhook, and Blue Harbor none for projects: not a row is written.
update project set name = 'Deep diggers' where id = 40
update project set name = 'Old sailors' where id = 20

-- live: One transaction, three changes of one row
-- Each is delivered, in this order: the next is sent once the last was accepted.
begin
insert into candidate (id, project_id, name) values (20, 17, 'Erin')
update candidate set name = 'Erin E.' where id = 20
update candidate set name = 'Erin F.' where id = 20
commit

-- live: Rolled back: a transaction, and a savepoint
-- Only what was committed may arrive. A later change at the same webhooks proves it.
begin
insert into candidate (id, project_id, name) values (66, 17, 'Ghost')
update rating set stars = 1 where id = 9
rollback
begin
update candidate set name = 'Dora' where id = 19
savepoint second_thoughts
insert into candidate (id, project_id, name) values (67, 17, 'Phantom')
rollback to savepoint second_thoughts
commit
update rating set stars = 4 where id = 9

-- retry: A receiver fails once
-- The first POST is answered 500 and comes again: same id, same bytes. Only its row waits.
update candidate set name = 'Karl' where id = 21
update candidate set name = 'Karel' where id = 21
update rating set stars = 4 where id = 91

-- steady: A busy moment at three companies
-- {steady} transactions of one row each, one every {pace_ms:.0f} ms.
update project set name = 'Engineer {{n}}' where id = 17
update rating set stars = 1 + {{n}} % 5 where id = 91
update candidate set name = 'Dora {{n}}' where id = 19
update answervideo set seconds = {{n}} where id = 7
update rating set stars = 1 + {{n}} % 5 where id = 9
update project set name = 'Smiths {{n}}' where id = 30
update note set text = 'Take {{n}}' where id = 4

-- bulk: A bulk update: {bulk:,} rows in one statement
-- While it drains, Blue Harbor's change does not wait behind it.
update candidate set name = name || ' (invited)' where project_id = 10
update rating set stars = 5 where id = 91

-- live: A last change for each webhook
-- Anything sent too often would have arrived by now.
update rating set stars = 3 where id = 9
update rating set stars = 2 where id = 91
update project set name = 'Smiths' where id = 30
update candidate set status = 'interviewed' where id = 1001
