-- maintenance: deletes backfills that ended long ago, some at a time.
--
-- $1 seconds   $2 how many at a time. Writes cdc.backfill.
delete from cdc.backfill
 where id in (select b.id from cdc.backfill b
               where b.ended_at < statement_timestamp() - $1::float8 * interval '1 second'
                 and b.state not in ('running', 'paused')
               order by b.id limit $2)
