-- start: the first snapshot. What it shows is found by look_all.sql, what comes later by look.sql.
--
-- Reads no table; locks nothing.
select pg_current_snapshot()::text
