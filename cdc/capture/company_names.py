"""Names of companies: the generated function that reads them, where the mapping says which column
has them. For people who look for a company; capture does without."""

from __future__ import annotations

from cdc.capture.sql_text import literal
from cdc.mapping import Mapping
from cdc.mapping.model import quote

NAME = "company_names"
ARGUMENTS = "keys text[], prefix text, most int"
RETURNS = "table (key text, name text)"
NAME_CHARS = 200


def columns_read(mapping: Mapping) -> tuple[str, ...]:
    """Of the company's table."""
    company = mapping.company
    return () if company.name is None else (company.key, company.name)


def body(mapping: Mapping) -> str:
    """Of the function, for a mapping with a column of names."""
    company = mapping.company
    assert company.name is not None
    table, key = company.table.sql, f"own.{quote(company.key)}"
    name = f"own.{quote(company.name)}::text"
    shown = f"{key}::text, left({name}, {NAME_CHARS})"

    def beginning(text: str, with_: str) -> str:
        return (
            f"(select {shown} from {table} own where starts_with({text}, {with_})"
            f" order by {text} using operator(pg_catalog.~<~) limit $2)"
        )

    query = (
        "select found.key, found.name from (\n  "
        + "\n  union\n  ".join(
            (beginning(f"{key}::text", "$1"), beginning(f"lower({name})", "lower($1)"))
        )
        + "\n) found (key, name) order by found.name, found.key limit $2"
    )
    return f"""
#variable_conflict use_column
-- Companies of these keys; if they are null, those whose key or name begins with the prefix, in any
-- case. Called by cdc.company_names(), for `cdc serve`. Reads keys by their index, and what begins
-- with the prefix by indexes that the DBA has made (docs/mapping.md); else the whole table.
declare
  wanted text;
  one {table}.{quote(company.key)}%type;
begin
  foreach wanted in array coalesce(keys[1:most], '{{}}') loop
    begin
      one := wanted;
      return query
      select {shown} from {table} own
       where {key} = one and {key}::text = wanted;
    exception when data_exception then null;  -- a key of another form
    end;
  end loop;
  if keys is null then
    -- Planned for this prefix: a plan for any cannot use an index. Of many, the first in its order.
    return query execute {literal(query)} using prefix, most;
  end if;
end
"""
