"""The guides use the field's terms, not a language of their own, and are short."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import SPAN, prose
from tests.house.files import TOP, name

GUIDES = [TOP / "README.md", *sorted(TOP.glob("docs/*.md")), TOP / "sql/README.md"]
MOST_WORDS = 2500  # a longer page is two pages
GENERATED = re.compile(r"<!-- [^>]*written by.*?<!-- end of", re.DOTALL)
# Name the actor; return, report or notify; again; automatically; in flight; N.
PRIVATE = re.compile(
    r"\b(told|whoever|(?:no|every|some)body|once\s+more|by\s+itself|under\s+way|anew|so\s+many)\b",
    re.IGNORECASE,
)


def private(text: str) -> list[str]:
    written = SPAN.sub("", prose(GENERATED.sub("", text)))
    return [found[1] for found in PRIVATE.finditer(written)]


@pytest.mark.parametrize("path", GUIDES, ids=name)
def test_a_guide_uses_the_fields_terms(path: Path) -> None:
    assert not private(path.read_text("utf-8"))


@pytest.mark.parametrize("path", GUIDES, ids=name)
def test_a_guide_is_short(path: Path) -> None:
    words = [word for word in path.read_text("utf-8").split() if word != "|"]
    assert len(words) <= MOST_WORDS


def test_others_are_found() -> None:
    assert private("Nobody is told, once\nmore, of `so many`.") == ["Nobody", "told", "once\nmore"]
    assert not private("<!-- x: written by `y` -->\nunder way\n<!-- end of x -->")
