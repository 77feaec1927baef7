"""The files of the clone, as the house rules see them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

TOP = Path(__file__).parents[2]
_MADE_BY_TOOLS = {"__pycache__", "dist", "build"}


def files(*suffixes: str) -> Iterator[Path]:
    """All files, or those with one of the suffixes; nothing that git or a tool made."""
    found: list[Path] = []
    for folder, below, names in os.walk(TOP):
        below[:] = [each for each in below if each == ".ci" or not _is_foreign(each)]
        found += [Path(folder, each) for each in names if each not in _MADE_BY_TOOLS]
    yield from sorted(path for path in found if not suffixes or path.suffix in suffixes)


def _is_foreign(folder: str) -> bool:
    return folder.startswith(".") or folder in _MADE_BY_TOOLS


def name(path: Path) -> str:
    return str(path.relative_to(TOP))
