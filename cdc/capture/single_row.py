"""The first thing that a capture function tries: that its statement has changed a single row. Pure.

Nearly all statements of an application do. In such a short transaction each expression and each
part of a plan costs, as they are prepared again. So this reads as little as that case needs, into
plain arrays: no composites, nothing to be kept of a row without a place, and the sequences by a
function instead of a scan. All else is left to the rest of the function, as if this had not been
tried: several rows or none, a row that has no place yet, and every error.

What an update has changed is compared, and values are read, only where a registration that may want
the row asks for it: the read leaves a null in the place of each of those, and a second one decides.
"""

from __future__ import annotations

from cdc.capture import changed_mask, included
from cdc.capture.guard import READ_DONE, limited, reserve
from cdc.capture.parent_lookup import asked, found, wanted_few, wants
from cdc.capture.sql_text import indent, lines, literal
from cdc.mapping import JoinPlan, Mapping, Resource


def variables(resource: Resource) -> str:
    more = ""
    if resource.fields is not None:
        more = "\n  of_company text;\n  mask bigint;  -- what was changed; null: all"
    if resource.fields:
        more += "\n  also json[];  -- what is included"
    return f"""
  hooks bigint[];
  refs text[];
  placed boolean;
  rings boolean;{more}"""


def attempt(join_plan: JoinPlan, mapping: Mapping) -> str:
    """A block that returns from the function if it has captured all there was."""
    resource = join_plan.resource
    read = found(
        join_plan,
        mapping,
        source="null::bigint",
        rows="new_rows own",
        plain=True,
        changed=changed_mask.ALL,
    )
    filtered = ["queue", "subscription", *(["gone"] if resource.deleted else [])]
    number = "\n      case when placed then nullif(cardinality(hooks), 0) end"
    webhook, company, into, second = "s.webhook_id", "", "", ""
    if resource.fields is not None:
        webhook = "case when s.changed is null and s.include is null then s.webhook_id end"
        company, into = "\n           found.company,", " of_company,"
        second = f"\n{indent(_asking(join_plan), 4)}"
    column, one, each, many = "", "", "", "hooks) with ordinality h (webhook_id"
    if resource.fields:
        column, one, each = ", included", ", also[1]", ", h.included"
        many = "hooks, also) with ordinality h (webhook_id, included"
    return f"""
  -- A single row, as nearly always. Several rows or none, one without a place, and errors: below.
  begin
{indent(limited(*filtered), 4)}
    insert into cdc.queue (id, webhook_id, layout, action, "time", refs, uid{column})
    select 0, 0, 0, action, happened, null, null{", null" * bool(column)} where false;
    -- Strict: several rows raise, too.
    select found.refs,{company}
           found.placed,
           array(
             select {webhook}
               from cdc.subscription s
              where s.company = found.company and s.event = {literal(join_plan.layout.event)}
                and {wants("s", "action", join_plan)}),
           pg_sequence_last_value('cdc.queue_id'::regclass),
           pg_sequence_last_value('cdc.bell'::regclass)
             > extract(epoch from happened) * 1000000
      into strict refs,{into} placed, hooks, base, rings
      from (
{indent(read, 8)}
      ) found;{second}
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
      insert into cdc.queue (id, webhook_id, layout, action, "time", refs, uid{column})
      values (last_id - 1, hooks[1], {join_plan.layout.id}, action, happened, refs,
              gen_random_uuid(){one});
    else
      insert into cdc.queue (id, webhook_id, layout, action, "time", refs, uid{column})
      select last_id - cardinality(hooks) + h.number, h.webhook_id, {join_plan.layout.id}, action,
             happened, refs, gen_random_uuid(){each}
        from unnest({many}, number);
    end if;
    if rings then
      perform pg_notify('cdc', '');
    end if;
    return null;
  elsif placed and base is not null then
    return null;  -- no webhook wants it
  end if;"""


def _asking(join_plan: JoinPlan) -> str:
    """Statements that find the webhooks again where one of them asks what was changed, or for
    values."""
    resource = join_plan.resource
    of_row = asked(resource, "", f"coalesce(mask, {changed_mask.ALL})", "")
    agreed = ["array_agg(wants.webhook_id)"]
    into, forms = "hooks", ""
    if resource.fields:
        agreed.append(f"array_agg({included.of_webhook(resource)})")
        into, forms = "hooks, also", f"\n{indent(included.forms(resource), 2)}"
    return f"""\
if placed and array_position(hooks, null) is not null then{forms}
  if tg_nargs > 0 then
    select {changed_mask.of_single(resource, 11)}
      into strict mask
      from new_rows n cross join {changed_mask.OLD_ROWS} o;
  end if;
  select {lines(agreed, ",", 9)}
    into {into}
    from (
      select of_company as company, {lines(of_row, ",", 13)}
        from new_rows own
    ) found
{indent(wanted_few(join_plan, "action"), 2)}
   where wants.webhook_id is not null;
end if;"""
