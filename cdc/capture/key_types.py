"""Which columns can be keys: those whose equal values are written alike, in every session.

Keys travel as text, from the trigger to the payload, and companies and rows are found by that text.
Of a numeric column 1 and 1.0 are equal, and would be two companies: a webhook registered for the
one gets no change of the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from cdc.capture.catalog import Connection
from cdc.errors import MappingError
from cdc.mapping import Mapping, Table
from cdc.mapping.model import COMPANY, quote

ACCEPTED = (
    "Keys are smallint, integer, bigint, uuid, text or varchar (with a deterministic collation), "
    "domains of these, or enums. Change the column's type, or map another column: a stored "
    "generated one of such a type will do."
)

# Types of one kind are compared by PostgreSQL's own operators, by index. An enum is its own kind.
_KINDS = {
    "int2": "a whole number",
    "int4": "a whole number",
    "int8": "a whole number",
    "uuid": "uuid",
    "text": "text",
    "varchar": "text",
}

_SETTINGS = "settings of the session decide how it is written"
_WHY = {
    "numeric": "1 and 1.0 are equal",
    "jsonb": "1 and 1.0 are equal",
    "bpchar": "blanks at its end do not count",
    "citext": "capital and small letters are equal",
    **dict.fromkeys(("float4", "float8", "money", "bytea", "interval", "date"), _SETTINGS),
    **dict.fromkeys(("time", "timetz", "timestamp", "timestamptz"), _SETTINGS),
}
_OTHERWISE = "equal values of it may be written differently"


@dataclass(frozen=True, slots=True)
class _Named:
    """A column that the mapping names as a key, or as one that leads to a key, and where."""

    place: str
    table: Table
    column: str

    def __str__(self) -> str:
        return f"column {quote(self.column)} of {self.table}"


def check_keys(conn: Connection, mapping: Mapping) -> None:
    """Refuses columns that cannot be keys, and those of another type than the key they lead to.

    Raises MappingError.
    """
    named = list(_named(mapping))
    kinds: dict[tuple[Table, str], str] = {}
    for each, kind, wrong in _looked_up(conn, named):
        if wrong is not None:
            raise MappingError(f"{each.place}: {each} cannot be a key: {wrong}", ACCEPTED)
        kinds[each.table, each.column] = kind
    for name, resource in mapping.resources.items():
        for parent, columns in resource.parents.items():
            above = mapping.company if parent == COMPANY else mapping.resources[parent]
            for column, key in zip(columns, mapping.key_of(parent), strict=True):
                here, there = kinds[resource.table, column], kinds[above.table, key]
                if here != there:
                    child = _Named(f"resources.{name}.parents.{parent}", resource.table, column)
                    raise MappingError(
                        f"{child.place}: {child} cannot be compared with the key {quote(key)} of "
                        f"{above.table}: their types differ ({here}, {there})",
                        "Give both the same type.",
                    )


def _named(mapping: Mapping) -> Iterator[_Named]:
    yield _Named("company.key", mapping.company.table, mapping.company.key)
    for name, resource in mapping.resources.items():
        for column in resource.key:
            yield _Named(f"resources.{name}.key", resource.table, column)
        for parent, columns in resource.parents.items():
            for column in columns:
                yield _Named(f"resources.{name}.parents.{parent}", resource.table, column)


def _looked_up(conn: Connection, named: list[_Named]) -> Iterable[tuple[_Named, str, str | None]]:
    """Each with its kind and why it cannot be a key. Domains are looked through."""
    rows = conn.execute(
        """
        with recursive based (number, oid, collated, depth) as (
          select k.number, a.atttypid, a.attcollation, 0
            from unnest(%s::text[], %s::text[], %s::text[])
                 with ordinality k (schema, name, attribute, number)
            join pg_namespace n on n.nspname = k.schema
            join pg_class c on c.relnamespace = n.oid and c.relname = k.name
            join pg_attribute a on a.attrelid = c.oid and a.attname = k.attribute
           where not a.attisdropped
          union all
          select b.number, t.typbasetype, b.collated, b.depth + 1
            from based b join pg_type t on t.oid = b.oid
           where t.typtype = 'd'
        )
        select b.number, t.typtype = 'e', b.depth > 0, t.typname::text,
               t.typnamespace = 'pg_catalog'::regnamespace, format_type(t.oid, null),
               (select c.collname::text from pg_collation c
                 where c.oid = b.collated and not c.collisdeterministic)
          from based b join pg_type t on t.oid = b.oid
         where t.typtype <> 'd'
         order by 1
        """,
        (
            [each.table.schema for each in named],
            [each.table.name for each in named],
            [each.column for each in named],
        ),
    ).fetchall()
    for number, is_enum, is_domain, name, of_postgres, written, loose in rows:
        kind = written if is_enum else _KINDS.get(name) if of_postgres else None
        wrong = None
        if loose is not None:
            wrong = f"texts that differ are equal in its collation {loose}"
        elif is_enum and is_domain:
            wrong = f"PostgreSQL has no = for its type, a domain of the enum {written}"
        elif kind is None:
            known = of_postgres or name == "citext"
            wrong = f"its type is {written}: {_WHY.get(name, _OTHERWISE) if known else _OTHERWISE}"
        yield named[number - 1], kind or "", wrong
