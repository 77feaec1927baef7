"""Finds and loads the files of ``sql/``: the DBA's copy, which is also what the program runs.

In a checkout it is next to the package; in the wheel it is ``cdc/sql``.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


@cache
def root() -> Path:
    """The folder ``sql/``."""
    inside = _PACKAGE / "sql"
    return inside if inside.is_dir() else _PACKAGE.parent / "sql"


@cache
def query(name: str) -> str:
    """A named query of ``sql/queries``: what the daemon runs, with parameters as ``$1``."""
    return (root() / "queries" / f"{name}.sql").read_text(encoding="utf-8")


def read_queries() -> None:
    """Reads all of them, for a program that runs for long: later another release may lie there, or
    no file can be opened."""
    for path in (root() / "queries").glob("*.sql"):
        query(path.stem)


def schema_files() -> list[Path]:
    """The files of ``sql/schema`` in the order of their numbers."""
    return sorted((root() / "schema").glob("*.sql"))


def schema_file(name: str) -> str:
    return (root() / "schema" / name).read_text(encoding="utf-8")


@cache
def indexes() -> tuple[str, ...]:
    """Names of the indexes that the files of ``sql/schema`` create, without those of keys."""
    created = re.compile(r"^create (?:unique )?index (\w+) ", re.MULTILINE)
    texts = (schema_file(path.name) for path in schema_files())
    return tuple(sorted(name for text in texts for name in created.findall(text)))
