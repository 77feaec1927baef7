"""Names of companies: the generated function that reads them, where the mapping says which column
has them. For people who look for a company; capture does without."""

from __future__ import annotations

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
    return f"""
#variable_conflict use_column
-- Companies of these keys (null: all), whose key or name begins with the prefix, without regard to
-- case. Called by cdc.company_names(), for `cdc serve`. Reads the whole table.
begin
  return query
  select found.key, found.name
    from (select own.{quote(company.key)}::text as key,
                 left(own.{quote(company.name)}::text, {NAME_CHARS}) as name
            from {company.table.sql} own) found
   where (keys is null or found.key = any(keys))
     and (starts_with(found.key, prefix) or starts_with(lower(found.name), lower(prefix)))
   order by found.name, found.key
   limit most;
end
"""
