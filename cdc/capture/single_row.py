"""The first thing that a capture function tries: that its statement has changed a single row. Pure.

Nearly all statements of an application do. In such a short transaction each expression and each
part of a plan costs, as they are prepared again. So this reads as little as that case needs, into
plain arrays: no composites, nothing to be kept of a row without a place, and the sequences by a
function instead of a scan. All else is left to the rest of the function, as if this had not been
tried: several rows or none, a row that has no place yet, and every error.

Not for resources that declare ``fields``.
"""

from __future__ import annotations

from cdc.capture.guard import READ_DONE, READ_LOCK_MS, reserve
from cdc.capture.parent_lookup import found, wants
from cdc.capture.sql_text import indent, lines, literal
from cdc.mapping import JoinPlan, Mapping, Resource


def variables(resource: Resource) -> str:
    if resource.fields is not None:
        return ""
    return """
  -- Of a single row:
  hooks bigint[];
  refs text[];
  placed boolean;
  rings boolean;"""


def attempt(join_plan: JoinPlan, mapping: Mapping) -> str:
    """A block that returns from the function if it has captured all there was."""
    resource = join_plan.resource
    if resource.fields is not None:
        return ""
    read = found(join_plan, mapping, source="null::bigint", rows="new_rows own", plain=True)
    filtered = ["queue", "subscription", *(["gone"] if resource.deleted else [])]
    active = [f"row_security_active('cdc.{table}'::regclass)" for table in filtered]
    checks = [f"cdc.unfiltered('cdc.{table}')" for table in filtered]
    number = "\n      case when placed then nullif(cardinality(hooks), 0) end"
    return f"""
  -- A single row, as nearly always. Several rows or none, one without a place, and errors: below.
  begin
    -- In one expression: each is prepared again in each transaction.
    if set_config('lock_timeout', '{READ_LOCK_MS}ms', true) is null
       or {lines(active, " or", 10)} then
      perform {lines(checks, ",", 14)};
    end if;
    insert into cdc.queue (id, webhook_id, layout, action, "time", refs, uid)
    select 0, 0, 0, action, happened, null, null where false;
    select found.refs,
           found.placed and not exists (select from new_rows offset 1),
           array(
             select s.webhook_id
               from cdc.subscription s
              where s.company = found.company and s.event = {literal(join_plan.layout.event)}
                and {wants("s", "action", join_plan)}),
           pg_sequence_last_value('cdc.queue_id'::regclass),
           pg_sequence_last_value('cdc.bell'::regclass)
             > extract(epoch from happened) * 1000000
      into refs, placed, hooks, base, rings
      from (
{indent(read, 8)}
      ) found;
    last_id := {reserve(number)};
    raise sqlstate '{READ_DONE}';
  exception
    when sqlstate '{READ_DONE}' then
      null;
    when serialization_failure then
      raise;
    when others then
      placed := false;
  end;
  if placed and last_id is not null then
    if cardinality(hooks) = 1 then
      insert into cdc.queue (id, webhook_id, layout, action, "time", refs, uid)
      values (last_id - 1, hooks[1], {join_plan.layout.id}, action, happened, refs,
              gen_random_uuid());
    else
      insert into cdc.queue (id, webhook_id, layout, action, "time", refs, uid)
      select last_id - cardinality(hooks) + h.number, h.webhook_id, {join_plan.layout.id}, action,
             happened, refs, gen_random_uuid()
        from unnest(hooks) with ordinality h (webhook_id, number);
    end if;
    if rings then
      perform pg_notify('cdc', '');
    end if;
    return null;
  elsif placed and base is not null then
    return null;  -- no webhook wants it
  end if;"""
