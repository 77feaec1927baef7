-- fetch, its supplement: created rows beyond a window whose modified row lies in it, for some lanes.
--
-- Where the suite has a trigger of its own that updates what was just inserted, the modified row gets
-- the lower id. Within a transaction created goes first, so when a window ends in the middle of one,
-- the created rows that belong to its modified ones are fetched too, unless the row was deleted before.
--
-- $1 webhooks   $2 last id of each one's window   $3 the look's snapshot
-- $4 webhooks, $5 transactions, $6 layouts and $7 keys of the windows' modified rows
-- Reads cdc.queue by queue_xid, once a transaction: only created and deleted rows.
select f.webhook_id, f.id, f.xid, f.uid, f.layout, f.action, f."time",
       cdc.brought(f.refs, f.uid) as refs, cdc.bounded(f.included) as included
  from (select q.*, count(*) filter (where q.action = 'd')
                      over (partition by q.webhook_id, q.xid, q.layout, q.refs[cardinality(q.refs)]
                            order by q.id) as deletes
          from cdc.queue q
         where q.xid = any($5::xid8[]) and q.action in ('c', 'd')
           -- "is true" has them hashed: as a join they would be compared each with each.
           and ((q.webhook_id, q.xid, q.layout, q.refs[cardinality(q.refs)])
                in (select * from unnest($4::bigint[], $5::xid8[], $6::int[], $7::text[]))) is true
           and q.id > ($2::bigint[])[array_position($1::bigint[], q.webhook_id)]
           and pg_visible_in_snapshot(q.xid, $3::pg_snapshot)) f
 where f.action = 'c' and f.deletes = 0
 order by f.id
