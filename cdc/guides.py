"""Where the guides are: messages name them, and whoever reads the message may have only the wheel.

In a checkout they lie beside the package; in the wheel they are ``cdc/docs``.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).parent
_NAMED = re.compile(r"(?<![\w/])(docs/[a-z]+\.md|sql/schema/\w+\.sql)")


@cache
def root() -> Path:
    """The folder ``docs/``."""
    inside = _PACKAGE / "docs"
    return inside if inside.is_dir() else _PACKAGE.parent / "docs"


def located(text: str) -> str:
    """A message with the guides and SQL files that it names as files that are there; in the
    checkout as it is."""
    if root().parent == Path.cwd():
        return text
    return _NAMED.sub(lambda named: str(root().parent / named[1]), text)
