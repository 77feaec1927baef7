-- prune: before a partition of the attempt log is emptied: the list of what was owed has a gap where a
-- client has not come beyond the last of its transactions.
--
-- Reads the partition by its index on (webhook_id, xid), once for each webhook. Writes cdc.installation.
-- The program writes the partition's number in place of 00.
update cdc.installation i set log_pruned = gone.xid
  from (select max(last.xid) as xid
          from cdc.webhook w
         cross join lateral (select a.xid from cdc.attempt_00 a
                              where a.webhook_id = w.id and a.outcome <> 'failed'
                              order by a.xid desc limit 1) last) gone
 where gone.xid > i.log_pruned
