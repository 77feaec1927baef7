-- mail: the next contact that is to get a mail, claimed: a confirmed one that has notices, or a new one that has to
-- be asked.
--
-- $1 seconds of the claim
-- Writes cdc.contact; leaves out what another session has locked.
update cdc.contact c
   set claimed_until = clock_timestamp() + $1::float8 * interval '1 second'
 where c.id = (select o.id from cdc.contact o
                where o.due_at <= clock_timestamp()
                  and (o.claimed_until is null or o.claimed_until < clock_timestamp())
                  and case when o.confirmed_at is null then o.invited_at is null
                           else exists (select from cdc.mail m where m.contact_id = o.id) end
                order by o.due_at, o.id limit 1
                  for update skip locked)
returning c.id, c.company, c.email, case when c.confirmed_at is null then c.code end
