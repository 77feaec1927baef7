-- maintenance: deletes old notices, some at a time. The newest of each kind of a webhook stays, unless that is
-- removed: it says what was reported already.
--
-- $1 seconds   $2 how many at a time. Writes cdc.notice.
delete from cdc.notice
 where id in (select n.id from cdc.notice n
               where n.at < statement_timestamp() - $1::float8 * interval '1 second'
                 and (exists (select from cdc.notice later
                               where later.webhook_id = n.webhook_id and later.kind = n.kind
                                 and later.since > n.since)
                      or not exists (select from cdc.webhook w
                                      where w.id = n.webhook_id and w.state <> 'removed'))
               order by n.id limit $2)
