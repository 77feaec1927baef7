-- maintenance: what was kept of deleted parents. That it is seen says that its transaction has ended: only late
-- capture may read it now, where a change of that transaction waits.
--
-- $1 transaction from which on  $2 how many at most. Returns how many went, and the last one's transaction:
-- the next are looked for from there.
-- Writes cdc.gone by its primary key. Reads cdc.unresolved once.
with old as (
  select g.xid, g.id from cdc.gone g
   where g.xid >= $1::xid8
     and not exists (select from cdc.unresolved u where u.xid = g.xid)
   order by g.xid, g.id limit $2
), forgotten as (
  delete from cdc.gone g using old where g.xid = old.xid and g.id = old.id
  returning g.xid
)
select count(*) as forgotten, coalesce(max(xid), $1::xid8)::text as last from forgotten
