-- tests: the result of one. Nothing is written where it was cancelled or given up in the meantime.
--
-- $1 task  $2 its state  $3 the result, null if it was not sent, and $4 why  $5 the endpoint that a challenge has
-- proven, as registered; null: none  $6 why a webhook was paused that waited for it
-- Writes cdc.task and cdc.webhook by their keys: another endpoint than the one that was called is not proven.
with ended as (
  update cdc.task set state = $2, result = $3, error = $4, ended_at = clock_timestamp()
   where id = $1 and state = 'running'
  returning webhook_id
)
update cdc.webhook w
   set unverified_since = null,
       state = case w.reason when $6 then 'active' else w.state end,
       reason = case w.reason when $6 then '' else w.reason end
 where w.id = (select webhook_id from ended) and w.endpoint = $5 and w.unverified_since is not null and w.state = 'paused'
