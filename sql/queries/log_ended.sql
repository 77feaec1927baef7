-- prune: days of the attempt log that ended two days ago or earlier, and are not in cdc.log_day. Others leave it:
-- those that are new again because the clock was set back, and those whose partitions were emptied, or to which
-- something was added nevertheless because the clock was wrong.
--
-- $1 today  $2 partitions that were emptied
-- Writes cdc.log_day, by log_day_day.
with past as (
  delete from cdc.log_day d
   where d.day = any (array(
     select m.day from cdc.log_day m
      where m.webhook_id = 0
        and (m.day not between $1::int - 30 and $1 - 3
             or m.day % 32 = any ($2::int[])
             or m.added <> pg_stat_get_tuples_inserted(to_regclass('cdc.attempt_' || lpad((m.day % 32)::text, 2, '0'))))))
  returning d.day
)
select day
  from generate_series($1 - 30, $1 - 3) day
 where day not in (select m.day from cdc.log_day m where m.webhook_id = 0)
    or day in (select p.day from past p)
