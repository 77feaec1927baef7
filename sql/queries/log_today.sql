-- prune: today, as the attempt log counts days.
--
-- Reads no table; locks nothing.
select floor(extract(epoch from clock_timestamp()) / 86400)::int
