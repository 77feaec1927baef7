"""Cursors: where a page ended, as an opaque text. They are checked as any other input."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import TypeVar

import orjson

from cdc.web.problems import Problem

T = TypeVar("T")


def unknown() -> Problem:
    """For a cursor that is not of this list."""
    return Problem("invalid_cursor", errors={"after": "give `next` of a page of the same list"})


def cursor(*place: str | int) -> str:
    return urlsafe_b64encode(orjson.dumps(place)).decode().rstrip("=")


def place(text: str | None, *kinds: type) -> list[str | int] | None:
    """What a cursor holds, None without one. Raises Problem for one that is none of ours."""
    if text is None:
        return None
    try:
        found = orjson.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except ValueError:
        found = None
    if not isinstance(found, list) or [type(part) for part in found] != list(kinds):
        raise unknown()
    if any(isinstance(part, str) and "\0" in part for part in found):
        raise unknown()
    if any(isinstance(part, int) and not -(2**63) <= part < 2**63 for part in found):
        raise unknown()
    return found


def cut(found: Sequence[T], limit: int) -> tuple[list[T], bool]:
    """The page, of one more than fit on it, and whether there are more."""
    return list(found[:limit]), len(found) > limit
