-- start: rows restored from a dump may carry transaction ids of the future, and would be found by
-- every look. A visible row always has an id below xmax, so one that has not was restored.
--
-- $1 how many at a time. Returns how many were mended.
-- Writes cdc.queue by queue_xid, cdc.webhook. Waits for no row's lock: what is locked is left to the slow
-- sweep, which runs this too.
with future as (
  select q.ctid from cdc.queue q
   where q.xid >= pg_snapshot_xmax(pg_current_snapshot())
   order by q.xid limit $1
     for update skip locked
), queued as (
  update cdc.queue q set xid = pg_current_xact_id()
    from future where q.ctid = future.ctid
  returning 1
), registered as (
  update cdc.webhook set xid = pg_current_xact_id()
   where id in (select w.id from cdc.webhook w
                 where w.xid >= pg_snapshot_xmax(pg_current_snapshot())
                   for update skip locked)
  returning 1
)
select (select count(*) from queued) + (select count(*) from registered)
