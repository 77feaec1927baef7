-- fetch: the next rows of some lanes, in order.
--
-- Only rows that the look's snapshot shows: a row committed between look and fetch would come before
-- an older change of the same resource that is still to be seen.
--
-- $1 webhooks   $2 from and $3 up to which id   $4 how many   $5 the look's snapshot
-- Reads cdc.queue by queue_lane, from the position: its cost does not depend on the backlog, nor on
-- dead rows before it; up to where there is something, so not on what an open transaction has written
-- behind it either.
select q.webhook_id, q.id, q.xid, q.uid, q.layout, q.action, q."time",
       cdc.brought(q.refs, q.uid) as refs, cdc.bounded(q.included) as included
  from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::int[]) as lane (webhook_id, from_id, to_id, most)
 cross join lateral (
         select * from cdc.queue q
          where q.webhook_id = lane.webhook_id and q.id >= lane.from_id and q.id <= lane.to_id
            and pg_visible_in_snapshot(q.xid, $5::pg_snapshot)
          order by q.id
          limit lane.most) q
