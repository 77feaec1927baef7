-- tests: what came of one. Nothing is written where it was cancelled or given up in the meantime.
--
-- $1 task  $2 its state  $3 the result, null if it was not sent, and $4 why
-- Writes cdc.task by its key.
update cdc.task set state = $2, result = $3, error = $4, ended_at = clock_timestamp()
 where id = $1 and state = 'running'
