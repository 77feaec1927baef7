-- notices: the database's clock, to compare it with the daemon's.
--
-- Reads no table; locks nothing.
select extract(epoch from clock_timestamp())::float8
