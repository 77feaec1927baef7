"""The baseline of what a capture into a queue costs at least: a trigger that inserts constants.

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

BULK_TRIGGER = """
drop trigger insert_constant on candidate;
create function insert_constants() returns trigger language plpgsql as $$
begin
  insert into constant_queue (id, webhook_id, layout, action, "time", refs)
  select id, 1, 1, 'm', '2026-01-01', '{null,1,2,3}' from changed;
  return null;
end
$$;
create trigger insert_constants after update on candidate
  referencing new table as changed for each statement execute function insert_constants();
"""
"""Instead of that, one insert a statement: of constants, and the row's id as its number."""
