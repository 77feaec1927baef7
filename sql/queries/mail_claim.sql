-- mail: claims the next contact that gets a mail, and reads what is in it: notices for a confirmed one, the question
-- for a new one while its code is valid. One statement: what is deleted after it leaves no empty mail.
--
-- $1 seconds of the claim  $2 notices at most  $3 days that a code is valid
-- Returns contact, address, code and whether it is confirmed with each notice, the oldest first, or with none.
-- Writes cdc.contact; leaves out what another session has locked. Reads cdc.mail and cdc.notice by their keys.
with claimed as (
  update cdc.contact c
     set claimed_until = clock_timestamp() + $1::float8 * interval '1 second'
   where c.id = (select o.id from cdc.contact o
                  where o.due_at <= clock_timestamp()
                    and (o.claimed_until is null or o.claimed_until < clock_timestamp())
                    and case when o.confirmed_at is not null
                             then exists (select from cdc.mail m where m.contact_id = o.id)
                             else o.invited_at is null and o.created_at > clock_timestamp() - $3::float8 * interval '1 day' end
                  order by o.due_at, o.id limit 1
                    for update skip locked)
  returning c.id, c.email, c.code, c.confirmed_at is not null as confirmed
)
select c.id, c.email, c.code, c.confirmed, n.id, n.at, n.sentence
  from claimed c
  left join (cdc.mail m join cdc.notice n on n.id = m.notice_id) on m.contact_id = c.id and c.confirmed
 order by n.id limit $2
