"""The baseline that no capture into a queue can beat: a trigger that inserts one row of constants.

Into a table with the columns, defaults and indexes of cdc.queue: the transaction id and the random
uuid of each row are no constants. It reads nothing, resolves nothing, asks for no registration, and
fails the writer whenever its insert fails.
"""

from __future__ import annotations

TRIGGER = """
create table constant_queue (
  like cdc.queue including defaults including storage including indexes
);
create function insert_constant() returns trigger language plpgsql as $$
begin
  insert into constant_queue (id, webhook_id, layout, action, "time", refs)
  values (1, 1, 1, 'm', '2026-01-01', '{null,1,2,3}');
  return null;
end
$$;
create trigger insert_constant after insert or update on candidate
  for each row execute function insert_constant();
"""
