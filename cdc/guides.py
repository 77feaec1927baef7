"""Where the guides and the SQL are: messages name their files, also where only the wheel is.

In a checkout they are next to the package; in the wheel they are ``cdc/docs`` and ``cdc/sql``.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).parent
_NAMED = re.compile(r"(?<![\w/])(?:docs/[a-z]+\.md|sql/(?:schema/)?\w+\.sql)")


@cache
def root() -> Path:
    """The folder of ``docs/`` and ``sql/``."""
    return _PACKAGE if (_PACKAGE / "docs").is_dir() else _PACKAGE.parent


def located(text: str) -> str:
    """A message with the files that it names as they are to be found; in the checkout as it is."""
    if root() == Path.cwd():
        return text
    return _NAMED.sub(lambda named: str(root() / named[0]), text)
