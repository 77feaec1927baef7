-- What each statement finds: brought back before each.
set session_replication_role = replica;
delete from audit; delete from ticket; delete from note; delete from rating; delete from candidate;
delete from project; delete from company;
delete from cdc.queue; delete from cdc.unresolved; delete from cdc.subscription; delete from cdc.webhook;
insert into company values (1, 'one'), (2, 'two');
insert into project values (10, 1, 'ten'), (11, 1, 'eleven'), (20, 2, 'twenty'), (30, null, 'no company');
insert into candidate (id, project_id, name, stars) select g, 10, 'c' || g, 1 + g % 5 from generate_series(1, 200) g;
insert into candidate (id, project_id, name) values (201, 20, 'other company'), (202, 30, 'no company'), (203, null, 'no parent');
insert into rating select g, g, 1 + g % 2 from generate_series(1, 100) g;
insert into rating values (101, 203, 1), (102, 1, 5);
insert into note (id, candidate_id, text) overriding system value select g, g, 'n' || g from generate_series(1, 10) g;
insert into ticket select g, g, 'open' from generate_series(1, 10) g;
select setval(s, 1000, false) from unnest(array[
  'project_id_seq', 'candidate_id_seq', 'note_id_seq', 'ticket_id_seq', 'audit_id_seq']::regclass[]) s;
reset session_replication_role;
