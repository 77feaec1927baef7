-- keep the session that owns shards alive while there is no time to look.
--
-- Reads no table; locks nothing.
select
