"""Small pieces of SQL text, quoted so that no name of the suite can break out of them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from cdc.mapping.model import quote
from cdc.mapping.row_keys import ESCAPES
from cdc.wording import printable

PAIRS_OF_A_CALL = 50
"""PostgreSQL passes 100 arguments to a function, no more (FUNC_MAX_ARGS)."""


def comment(text: str) -> str:
    """A line of its own, whatever the text holds: a name of the suite's may have line breaks."""
    return "-- " + printable(text)


def literal(text: str) -> str:
    quoted = "'" + text.replace("'", "''") + "'"
    # Whatever a session makes of standard_conforming_strings.
    return "E" + quoted.replace("\\", "\\\\") if "\\" in text else quoted


def literals(texts: tuple[str, ...]) -> str:
    return ", ".join(literal(text) for text in texts)


def build_object(alias: str, columns: Iterable[str], column: int) -> str:
    """The named columns of a row as jsonb; ``column`` is where the expression stands."""
    pairs = [f"{literal(name)}, {alias}.{quote(name)}" for name in columns]
    return json_object(pairs, f",\n{' ' * (column + len('jsonb_build_object('))}")


def json_object(pairs: Sequence[str], between: str = ", ") -> str:
    """Pairs of a name and a value as jsonb, in as many calls as they need."""
    calls = [
        f"jsonb_build_object({between.join(pairs[first : first + PAIRS_OF_A_CALL])})"
        for first in range(0, len(pairs), PAIRS_OF_A_CALL)
    ]
    return calls[0] if len(calls) == 1 else f"({' || '.join(calls)})"


def key_text(values: Sequence[str]) -> str:
    """A key as one text, as cdc/mapping/row_keys.py joins it; null where a part of it is.

    values: SQL for the value of each column.
    """
    if len(values) == 1:
        return f"{values[0]}::text"
    parts = [f"{value}::text" for value in values]
    for char, escape in ESCAPES:
        parts = [f"replace({part}, {literal(char)}, {literal(escape)})" for part in parts]
    joined = " || '/' || ".join(parts)
    return f"({joined})"


def key_of_json(row: str, columns: Sequence[str]) -> str:
    """The same of a row that is jsonb."""
    values = [f"{row} ->> {literal(column)}" for column in columns]
    return values[0] if len(values) == 1 else key_text([f"({value})" for value in values])


def named(alias: str, columns: Iterable[str]) -> list[str]:
    return [f"{alias}.{quote(column)}" for column in columns]


def not_null(values: Sequence[str]) -> str:
    return " and ".join(f"{value} is not null" for value in values)


def equal(left: Sequence[str], right: Sequence[str]) -> str:
    """Whether two keys are, column by column."""
    return " and ".join(f"{one} = {other}" for one, other in zip(left, right, strict=True))


def lines(parts: Iterable[str], between: str, column: int) -> str:
    """One part a line, each below the first."""
    return f"{between}\n{' ' * column}".join(parts)


def dollar_quoted(tag: str, text: str) -> str:
    while f"${tag}$" in text:
        tag += "_"
    return f"${tag}${text}${tag}$"


def indent(text: str, columns: int) -> str:
    return textwrap.indent(text, " " * columns)
