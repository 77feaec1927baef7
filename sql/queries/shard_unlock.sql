-- ownership: releases the locks of shards.
--
-- $1 class of the daemons' advisory locks   $2 shards
select pg_advisory_unlock($1::int, s) from unnest($2::int[]) s
