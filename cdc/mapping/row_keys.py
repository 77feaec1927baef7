"""A row's key as one text, as the queue, commands and the API have it. Pure.

A key of one column is its value. The values of several are joined as a URL's path is: ``7/15``; a
slash or a percent sign within one of them is percent-encoded, so two rows never have the same text.
(The same in SQL: ``key_text`` in cdc/capture/sql_text.py.)
"""

from __future__ import annotations

from collections.abc import Sequence

ESCAPES = (("%", "%25"), ("/", "%2F"))
"""In the order in which they are applied."""


def joined(values: Sequence[str]) -> str:
    """The values of a key of several columns as one text."""
    for char, escape in ESCAPES:
        values = [value.replace(char, escape) for value in values]
    return "/".join(values)


def parts(key: str) -> list[str]:
    """The values of a key of several columns."""
    values = key.split("/")
    for char, escape in reversed(ESCAPES):
        values = [value.replace(escape, char) for value in values]
    return values


def layout_field(path: str, columns: Sequence[str]) -> str:
    """The name of a reference in a layout: a key of several columns brings their names, so that a
    row which was queued under another key is known."""
    return path if len(columns) == 1 else f"{path}/{joined(columns)}"


def of_layout(field: str) -> tuple[str, tuple[str, ...]]:
    """Path and columns of a reference; no columns where the key is a single one."""
    path, _, columns = field.partition("/")
    return path, tuple(parts(columns)) if columns else ()


def sample(field: str, value: str) -> str:
    """A key for a reference of a layout, with the same value in each of its columns."""
    _, columns = of_layout(field)
    return joined([value] * len(columns)) if columns else value
