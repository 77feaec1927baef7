"""Names of tables and columns as a mapping has them: in SQL's form. Pure."""

from __future__ import annotations

import re
from string import ascii_lowercase, ascii_uppercase

from cdc.mapping.model import Table, quote

IDENTIFIER = re.compile('"((?:[^"]|"")+)"|([A-Za-z_\x80-\U0010ffff][A-Za-z0-9_$\x80-\U0010ffff]*)')
_SMALL = str.maketrans(ascii_uppercase, ascii_lowercase)


def folded(name: str) -> str:
    """An unquoted name as PostgreSQL folds it: in UTF-8 the letters A to Z, no others."""
    return name.translate(_SMALL)


def written(*names: str) -> str:
    """A name, dotted if there are several, as it is written in a mapping."""
    return ".".join(_written(name) for name in names)


def _written(name: str) -> str:
    plain = IDENTIFIER.fullmatch(name) and '"' not in name and folded(name) == name
    return name if plain else quote(name)


class Wrong(Exception):
    """What a mapping file says at a place that cannot work."""

    def __init__(self, place: str, problem: str, hint: str = "") -> None:
        self.place, self.problem, self.hint = place, problem, hint


def _identifiers(text: str, place: str) -> list[str]:
    names: list[str] = []
    position = 0
    while True:
        match = IDENTIFIER.match(text, position)
        if match is None:
            raise Wrong(
                place,
                f"invalid SQL name {text!r}",
                "Quote what is not plain, e.g. '\"Job Application\"'.",
            )
        quoted, plain = match.groups()
        names.append(quoted.replace('""', '"') if quoted else folded(plain))
        if not names[-1].isprintable():
            raise Wrong(place, f"{names[-1]!r} holds a character that cannot be printed")
        if len(names[-1].encode()) > 63:
            raise Wrong(place, f"{names[-1]!r} is longer than PostgreSQL's 63 bytes")
        position = match.end()
        if position == len(text):
            return names
        if text[position] != ".":
            raise Wrong(place, f"invalid SQL name {text!r}")
        position += 1


def identifier(text: str, place: str) -> str:
    """The name of one column. Raises Wrong."""
    names = _identifiers(text, place)
    if len(names) != 1:
        raise Wrong(place, f"invalid column {text!r}: expected one name")
    return names[0]


def table_named(text: str, place: str) -> Table:
    """A table, in schema public where none is named. Raises Wrong."""
    names = _identifiers(text, place)
    if len(names) > 2:
        raise Wrong(place, f"invalid table {text!r}: expected table or schema.table")
    table = Table(*names) if len(names) == 2 else Table("public", names[0])
    if table.schema in ("cdc", "information_schema") or table.schema.startswith("pg_"):
        raise Wrong(place, f"{table} is not a table of the suite")
    return table
