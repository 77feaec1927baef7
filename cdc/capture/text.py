"""Small pieces of SQL text, quoted so that no name of the suite can break out of them."""

from __future__ import annotations

import textwrap


def literal(text: str) -> str:
    quoted = "'" + text.replace("'", "''") + "'"
    # Whatever a session makes of standard_conforming_strings.
    return "E" + quoted.replace("\\", "\\\\") if "\\" in text else quoted


def literals(texts: tuple[str, ...]) -> str:
    return ", ".join(literal(text) for text in texts)


def dollar_quoted(tag: str, text: str) -> str:
    while f"${tag}$" in text:
        tag += "_"
    return f"${tag}${text}${tag}$"


def indent(text: str, columns: int) -> str:
    return textwrap.indent(text, " " * columns)
