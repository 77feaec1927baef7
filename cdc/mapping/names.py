"""Names of tables and columns as a mapping has them: in SQL's form. Pure."""

from __future__ import annotations

import re
from string import ascii_lowercase, ascii_uppercase

from cdc.mapping.model import quote

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
