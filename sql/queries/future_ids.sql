-- start: a restored sequence may lag behind the rows; ids have to go on from the highest.
-- Sets cdc.queue_id.
select setval('cdc.queue_id', highest)
  from (select greatest((select max(id) from cdc.queue), (select max(id) from cdc.retry)) as highest) h
 where highest > (select last_value from cdc.queue_id)
