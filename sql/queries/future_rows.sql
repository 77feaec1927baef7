-- start: rows restored from a dump may carry transaction ids of the future, and would be found by
-- every look. A visible row always has an id below xmax, so one that has not was restored.
-- Writes cdc.queue, cdc.webhook.
with queued as (
  update cdc.queue set xid = pg_current_xact_id()
   where xid >= pg_snapshot_xmax(pg_current_snapshot())
  returning 1
), registered as (
  update cdc.webhook set xid = pg_current_xact_id()
   where xid >= pg_snapshot_xmax(pg_current_snapshot())
  returning 1
)
select (select count(*) from queued) + (select count(*) from registered)
