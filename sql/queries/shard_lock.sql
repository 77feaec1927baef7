-- ownership: locks of free shards, up to a fair share.
--
-- $1 shards   $2 class of the daemons' advisory locks   $3 how many at most
-- Returns those whose lock is ours now. Waits for none.
select s from unnest($1::int[]) s where pg_try_advisory_lock($2::int, s) limit $3
