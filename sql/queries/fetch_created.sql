-- fetch, its supplement: created rows beyond the window whose modified row lies in it.
--
-- Where the suite has a trigger of its own that updates what was just inserted, the modified row gets
-- the lower id. Within a transaction created goes first, so when a window ends in the middle of one,
-- the created rows that belong to its modified ones are fetched too.
-- References that are too long, or no list, stay here, and 'unfit' comes in their place (see
-- cdc/queue/session.py): first as they are stored, then, if that is little, unpacked.
--
-- $1 webhook   $2 transactions of the window's modified rows   $3 last id of the window
-- $4 the look's snapshot   $5 layouts and $6 keys of those rows
-- Reads cdc.queue by queue_xid: only created rows of these transactions.
select q.webhook_id, q.id, q.xid, q.uid, q.layout, q.action, q."time",
       case when pg_column_size(q.refs) > 4000 then array['unfit', q.uid::text]
            when octet_length(array_to_string(q.refs, '')) > 4000 or array_ndims(q.refs) > 1
              or octet_length(q.refs[array_upper(q.refs, 1)]) > 2000
              then array['unfit', q.uid::text]
            else q.refs end as refs
  from cdc.queue q
 where q.xid = any($2) and q.action = 'c'
   and q.webhook_id = $1 and q.id > $3
   and pg_visible_in_snapshot(q.xid, $4::pg_snapshot)
   and (q.layout, q.refs[cardinality(q.refs)]) in (select * from unnest($5::int[], $6::text[]))
 order by q.id
