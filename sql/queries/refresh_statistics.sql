-- Before many rows are read, recorded or replayed: cdc.queue, cdc.retry and cdc.dead are analyzed, where the planner takes a full
-- one for empty.
--
-- Reads pg_class, and 1,000 rows of such a table. SHARE UPDATE EXCLUSIVE on it: no writer waits.
select cdc.refresh_statistics()
