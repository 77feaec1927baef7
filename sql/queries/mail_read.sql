-- mail: the notices that a contact is to get, the oldest first.
--
-- $1 contact  $2 how many at most. Reads cdc.mail and cdc.notice by their keys.
select n.id, n.at, n.sentence
  from cdc.mail m join cdc.notice n on n.id = m.notice_id
 where m.contact_id = $1 order by n.id limit $2
