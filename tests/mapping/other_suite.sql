create schema "Talent Core";
create schema extras;
create table "Talent Core"."Mandant" ("Kennung" text primary key, "Eigene URL" text, "Name" text);
create table "Talent Core"."Geschäftsbereich" (
  "UID" uuid primary key, "Mandant" text references "Talent Core"."Mandant");
create table "Talent Core"."Job ""Posting""" (
  slug varchar(40) collate "C" primary key, "Bereich" uuid references "Talent Core"."Geschäftsbereich",
  titel text);
create table extras.topic (
  number int primary key,
  vacancy_slug varchar(40) collate "C" references "Talent Core"."Job ""Posting""");
create table "Talent Core"."Bewerbung" (
  "UID" uuid primary key, "Stelle" text collate "C" references "Talent Core"."Job ""Posting""",
  "Name" text);
create table extras."Clip" (
  uid uuid primary key, "Person" uuid references "Talent Core"."Bewerbung",
  "Topic" int references extras.topic);
create table extras.score (
  uid uuid primary key, tenant text references "Talent Core"."Mandant", person_uid uuid);
create table "Talent Core"."Notiz $cdc$ $many$ %s 'x' \d" (
  "Nr. %(a)s" bigint primary key, "$1 {clip}" uuid references extras."Clip");
