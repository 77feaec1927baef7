-- mail: it was not taken, and is tried again: after a minute, two, four, an hour at most.
--
-- $1 contact  $2 error. Returns it unless it was removed meanwhile. Writes cdc.contact.
update cdc.contact
   set claimed_until = null, tries = tries + 1, last_error = $2,
       due_at = clock_timestamp() + interval '1 second' * least(3600, 60 * 2 ^ least(tries, 10))
 where id = $1
returning id
