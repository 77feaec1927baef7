-- ownership: the sessions that hold locks of shards, for a daemon that has none.
--
-- Any account can take such a lock; a daemon is a session that may act as one (look.sql).
--
-- $1 class of the daemons' advisory locks   $2 number of shards: locks below it are theirs
-- Returns pid, a description, how many shards, whether it may act as a daemon, its role; most shards first.
-- Reads pg_locks (the locks of the whole server) and pg_stat_activity.
select h.pid, format('process %s (%s, user %s)', h.pid,
                     coalesce(nullif(a.application_name, ''), 'no name'), a.usename), h.shards,
       pg_has_role(a.usesysid, 'cdc_daemon', 'member')
         or has_table_privilege(a.usesysid, 'cdc.shard', 'update'),
       quote_ident(a.usename)
  from (select l.pid, count(*) as shards from pg_locks l
         where l.locktype = 'advisory' and l.classid = $1 and l.objsubid = 2 and l.granted
           and l.objid < $2
           and l.database = (select oid from pg_database where datname = current_database())
         group by l.pid) h
  join pg_stat_activity a on a.pid = h.pid
 order by h.shards desc
