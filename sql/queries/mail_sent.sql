-- mail: the mail server has taken it.
--
-- $1 contact  $2 the notices in it; null: it asked to confirm the address  $3 seconds until the next mail
-- Writes cdc.mail, cdc.contact.
with gone as (
  delete from cdc.mail where contact_id = $1::bigint and notice_id = any($2::bigint[])
)
update cdc.contact
   set claimed_until = null, tries = 0, last_error = null,
       invited_at = case when $2 is null then clock_timestamp() else invited_at end,
       due_at = case when $2 is null then due_at else clock_timestamp() + $3::float8 * interval '1 second' end
 where id = $1
