"""A mapping, fitted to a database: which parents' columns its tables have."""

from __future__ import annotations

from dataclasses import replace

from cdc.capture.catalog import Connection
from cdc.mapping import Mapping
from cdc.mapping.load import ancestors
from cdc.mapping.model import COMPANY

_COLUMNS = """
select w.name, array_agg(a.attname::text)
  from unnest(%s::text[], %s::text[], %s::text[]) w (name, schema, relation)
  join pg_namespace n on n.nspname = w.schema
  join pg_class c on c.relnamespace = n.oid and c.relname = w.relation
  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
 group by 1
"""


def fitted(conn: Connection, mapping: Mapping) -> Mapping:
    """The mapping as this database has it: with the parents of ``parents_if_there`` whose column
    the table has, and, of the default mapping, without those whose column it lacks.

    A resource stays as it is declared, and the check of the mapping names the column, where no path
    would lead any more to the company or to what its payload names.
    """
    resources = mapping.resources
    if mapping.declared is not None or not (
        mapping.fits or any(r.parents_if_there for r in resources.values())
    ):
        return mapping
    asked = [(name, r.table.schema, r.table.name) for name, r in resources.items()]
    found = dict(conn.execute(_COLUMNS, [list(x) for x in zip(*asked, strict=True)]).fetchall())
    there = {
        name: replace(
            resource,
            parents={
                parent: columns
                for parent, columns in {**resource.parents, **resource.parents_if_there}.items()
                if {*columns} <= {*found.get(name, ())}
                or (parent in resource.parents and not (mapping.fits and name in found))
            },
        )
        for name, resource in resources.items()
    }
    kept = {
        name: resource
        if {COMPANY, *resource.data} <= {name, *ancestors(name, there)}
        else resources[name]
        for name, resource in there.items()
    }
    return replace(mapping, resources=kept, declared=mapping.fingerprint)
