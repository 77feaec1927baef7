-- ownership: be counted as a daemon, for as long as the session lives.
--
-- $1 class of the daemons' advisory locks   $2 the locks that all of them hold, in the order of locking
-- Locks them, shared; waits for no other session, because none takes them exclusively.
select pg_advisory_lock_shared($1::int, l.number) from unnest($2::int[]) l (number)
