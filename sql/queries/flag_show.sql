-- notices: shows commands something of this daemon, for as long as its session lives.
--
-- $1 class of the daemons' advisory locks   $2 numbers that mean something (cdc/postgres/advisory_locks.py)
-- Locks these, shared; waits for no other session, because none takes them exclusively.
select pg_advisory_lock_shared($1::int, n) from unnest($2::int[]) n
