-- Before many rows are read, recorded or replayed: cdc.queue, cdc.retry and cdc.dead are analyzed, where the planner takes a full
-- one for empty.
--
-- Returns whether that went well; if not, the server's log has a warning.
-- Reads pg_class, and 1,000 rows of such a table. SHARE UPDATE EXCLUSIVE on it: no writer waits.
select cdc.refresh_statistics()
