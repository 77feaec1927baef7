-- take-over: the next webhook of some shards, whatever it has to do.
--
-- $1 shards  $2 after this webhook
select w.id from cdc.webhook w
 where w.id > $2 and (w.id % 64)::int = any($1::int[])
 order by w.id limit 1
