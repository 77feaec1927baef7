-- notices: what is not so any more.
--
-- $1 class of the daemons' advisory locks   $2 numbers, as for flag_show.sql
select pg_advisory_unlock_shared($1::int, n) from unnest($2::int[]) n
