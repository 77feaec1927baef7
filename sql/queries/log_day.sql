-- prune: the day of a partition of the attempt log, by any of its rows; none if it is empty.
--
-- Asked of the partition, not of the log: that would wait for a lock on any of them. No parameter can name
-- a table, so the program writes the partition's number in place of 00.
select floor(extract(epoch from at) / 86400)::int from cdc.attempt_00 limit 1
