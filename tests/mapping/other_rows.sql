-- A few rows of four companies: one with a host, one with a base URL of its own, two without.
insert into "Talent Core"."Mandant" values
  ('acme/ü 1', 'acme.talent.example'), ('beta', 'https://beta.example:8443/rest'), ('c', null),
  ('d', '');
insert into "Talent Core"."Geschäftsbereich" values
  ('00000000-0000-0000-0000-0000000000a1', 'acme/ü 1'),
  ('00000000-0000-0000-0000-0000000000a2', 'acme/ü 1'),
  ('00000000-0000-0000-0000-0000000000b1', 'beta'),
  ('00000000-0000-0000-0000-0000000000c1', 'c'), ('00000000-0000-0000-0000-0000000000d1', 'd');
insert into "Talent Core"."Job ""Posting""" values
  ('baker', '00000000-0000-0000-0000-0000000000a1'),
  ('50%? &c', '00000000-0000-0000-0000-0000000000a2'),
  ('b', '00000000-0000-0000-0000-0000000000b1'), ('c', '00000000-0000-0000-0000-0000000000c1'),
  ('d', '00000000-0000-0000-0000-0000000000d1');
insert into extras.topic values (1, 'baker'), (2, '50%? &c');
insert into "Talent Core"."Bewerbung" values ('00000000-0000-0000-0000-00000000a001', 'baker');
insert into extras."Clip" values
  ('00000000-0000-0000-0000-00000000c001', '00000000-0000-0000-0000-00000000a001', 1);
insert into "Talent Core"."Notiz $cdc$ $many$ %s 'x' \d" values
  (7, '00000000-0000-0000-0000-00000000c001');
