-- ownership: be counted as a daemon, for as long as the session lives.
--
-- $1 class of the daemons' advisory locks   $2 the lock that all of them hold
-- Locks that, shared; waits for no other session, because none takes it exclusively.
select pg_advisory_lock_shared($1::int, $2::int)
