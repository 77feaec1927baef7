-- start: a restored sequence may lag behind the rows; ids have to go on from the highest.
--
-- Sets cdc.queue_id. Probes queue_lane and the retry table's key once per webhook, whatever waits.
select setval('cdc.queue_id', highest)
  from (select greatest(max(queued.id), max(retried.id)) as highest
          from cdc.webhook w
          left join lateral (select q.id from cdc.queue q
                              where q.webhook_id = w.id order by q.id desc limit 1) queued on true
          left join lateral (select r.id from cdc.retry r
                              where r.webhook_id = w.id order by r.id desc limit 1) retried on true
       ) h
 where highest > (select last_value from cdc.queue_id)
