"""What capture keeps of deleted parents, for the deleted rows below them. Pure.

A cascade's triggers see a child when its parent is gone. The parent's own trigger fires before
those of the rows that its deletion deletes: PostgreSQL puts the triggers of referential actions
behind it.
"""

from __future__ import annotations

from cdc.capture.guard import READ_DONE, READ_LOCK_MS, unfiltered
from cdc.capture.parent_lookup import LONGEST_BASE, columns_read, table_of
from cdc.capture.sql_text import indent, json_object, key_text, literal, named
from cdc.mapping import Mapping, Table, plan_joins
from cdc.mapping.model import quote


def parents_of_deleted(mapping: Mapping) -> dict[str, tuple[Table, tuple[str, ...]]]:
    """Tables whose deleted rows are kept in cdc.gone for those below them, and the columns that
    are read of them, by the parent's name in the mapping."""
    kept: dict[str, dict[str, None]] = {}
    for resource in mapping.captured:
        if resource.deleted:
            join_plan = plan_joins(mapping, resource)
            read = columns_read(mapping, join_plan)
            for join in join_plan.joins:
                kept.setdefault(join.resource, {}).update(dict.fromkeys(read[join.name]))
    return {name: (table_of(mapping, name)[0], tuple(columns)) for name, columns in kept.items()}


def gone(table: Table, key: tuple[str, ...], columns: tuple[str, ...]) -> str:
    """Of the function that keeps a parent's deleted rows.

    columns: what is read of the parent.
    """
    # As text, and no longer than it could be used: nothing that a row holds can make that fail.
    kept = [f"{literal(c)}, left(own.{quote(c)}::text, {LONGEST_BASE})" for c in columns]
    own = json_object(kept, ",\n" + " " * 26)
    insert = indent(
        f"insert into cdc.gone (source, key, own)\n"
        f"select {literal(str(table))}, {key_text(named('own', key))},\n"
        f"       {own}\n"
        f"  from new_rows own",
        2,
    )
    return f"""
-- Keeps what leads on from deleted rows of {table}, for the deleted rows below them.
-- Fired after each statement, before the triggers of what its cascades delete. Writes cdc.gone,
-- which only the transaction that wrote it reads. Never raises for what rows hold.
declare
  setting text;
begin
  if not exists (select from new_rows) then
    return null;
  end if;
  begin
    setting := set_config('lock_timeout', '{READ_LOCK_MS}ms', true);
    -- Of no row: what the insert below would wait for, or fail at, is found out here.
{indent(insert, 2)} where false;
{indent(unfiltered("gone"), 4)}
    raise sqlstate '{READ_DONE}';
  exception
    when sqlstate '{READ_DONE}' then
      null;
    when serialization_failure then
      raise;
    when others then
      raise log 'cdc: deleted rows of % are not kept: % (%)', {literal(str(table))}, sqlerrm,
        sqlstate;
      return null;
  end;
{insert};
  return null;
end
"""
