-- late capture: changes whose company could not be found when they were made, tried again. Those whose time
-- has come, the longest overdue first.
--
-- $1 how many at most
-- Returns how many were captured. Two daemons do not try the same row: cdc.resolve() locks them, and leaves
-- out those that are locked. (The daemon itself has no right to.)
-- Reads cdc.unresolved by unresolved_due.
select cdc.resolve(array(
         select id from cdc.unresolved where retry_at <= statement_timestamp()
          order by retry_at, id limit $1))
