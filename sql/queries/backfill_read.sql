-- backfill: the next rows, in a session of its own (sql/schema/88_backfill.sql says why).
--
-- $1 backfill  $2 resource  $3 how many at most
select place, layout, refs from cdc.read_backfill($1, $2, $3)
