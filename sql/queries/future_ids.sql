-- start: a restored sequence may lag behind the rows; ids have to go on from the highest.
--
-- Ids that are further ahead than any sequence lags behind its table were made up (by code of the owner
-- of a table of the suite, which runs as cdc_capture): a sequence set to the last number there is would
-- fail every writer.
--
-- Sets cdc.queue_id. Probes queue_lane and the retry table's key once per webhook, whatever waits.
with known as materialized (
  select last_value as lowest, last_value + 1000000000000 as most from cdc.queue_id
)
select setval('cdc.queue_id', highest)
  from (select greatest(max(queued.id), max(retried.id)) as highest
          from cdc.webhook w
          left join lateral (select q.id from cdc.queue q
                              where q.webhook_id = w.id and q.id < (select most from known)
                              order by q.id desc limit 1) queued on true
          left join lateral (select r.id from cdc.retry r
                              where r.webhook_id = w.id and r.id < (select most from known)
                              order by r.id desc limit 1) retried on true
       ) h
 where highest > (select lowest from known)
