"""The files of the clone, as the house rules see them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

TOP = Path(__file__).parents[2]
_MADE_BY_TOOLS = {"__pycache__", "dist", "build"}


def files(*suffixes: str) -> Iterator[Path]:
    """All files, or those with one of the suffixes; nothing that git or a tool made."""
    for path in sorted(TOP.rglob("*")):
        parts = path.relative_to(TOP).parts
        hidden = any(part.startswith(".") and part != ".ci" for part in parts[:-1])
        if path.is_dir() or hidden or _MADE_BY_TOOLS.intersection(parts):
            continue
        if not suffixes or path.suffix in suffixes:
            yield path


def name(path: Path) -> str:
    return str(path.relative_to(TOP))
