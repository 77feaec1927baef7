"""What users see is in terms of the field, not in a language of its own; and guides are short."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import CODE as CODE_BLOCK
from tests.docs.pages import SPAN
from tests.house.files import TOP, files, name

GUIDES = [TOP / "README.md", *sorted(TOP.glob("docs/*.md")), TOP / "sql/README.md"]
CODE = [path for path in files(".py") if name(path).startswith("cdc/")]
READ_BY_OTHERS = [
    *(path for path in files(".sql") if name(path).startswith("sql/")),
    *(path for path in files(".yml", ".service") if name(path).startswith("deploy/")),
    *(TOP / page for page in ("ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md")),
]
PAGES = sorted(TOP.glob("cdc/web/console/templates/*.html"))
MARKUP = re.compile(r"\{[{%#].*?[}%#]\}|<[^>]*>", re.DOTALL)
MOST_WORDS = 2500  # a longer page is two pages
GENERATED = re.compile(r"<!-- [^>]*written by.*?<!-- end of", re.DOTALL)
# Name the actor; report, return or notify; "invalid X: expected ..."; again; automatically; N;
# continue; result or outcome; hangs; healthy; holds vacuum back; accepts; for example.
REFUSED = re.compile(
    r"(?<!there\s)\b(?:is|are)\s+no\s+(?!longer\b)\w+"
    r"|(?:(?<=[.!?:]\s)|^)(?:Who|Whoever)\b"
    r"|\b(?:told|whoever|(?:no|every|some|any)body|anew|once\s+more|by\s+itself|under\s+way|so\s+many)\b"
    r"|\b(?:is|are|has|have)\s+to\s+be\b|\bto\s+be\s+had\b"
    r"|\bgo(?:es)?\s+on\b|\b(?:came|comes|becomes?|became)\s+of\b|\b(?:stands?|stood)\s+still\b"
    r"|(?<!all\s)(?<!everything\s)\bis\s+well\b|\bkeeps?\s+vacuum\s+back\b|\bfor\s+long\b"
    r"|\b(?:takes?|took)\s+(?:no|a)\s+connections?\b|,\s+say\b|\bas\s+ever\b|\bgood\s+for\b",
    re.IGNORECASE,
)

TEST = re.compile(
    r"\bdef (?=test_)\w*_"
    r"(?:told|tells|whoever|nobody|somebody|anew|once_more|by_itself|under_way|so_many)(?:_\w+)?\("
)


def refused(text: str) -> list[tuple[int, str]]:
    """Words, each with its line."""
    return [
        (text.count("\n", 0, found.start()) + 1, " ".join(found[0].split()))
        for found in REFUSED.finditer(text)
    ]


def in_guide(text: str) -> list[tuple[int, str]]:
    """Not in code, and not in tables that follow from the code."""
    for other in (GENERATED, CODE_BLOCK, SPAN):
        text = other.sub(lambda found: re.sub(r"\S", " ", found[0]), text)
    return refused(text)


def sentences(source: str, *, helped: bool) -> Iterator[tuple[int, str]]:
    """Line and text of all constants that may be sentences. helped: docstrings are help texts."""
    tree = ast.parse(source)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    # Documents a constant, as docstrings do functions.
    docstrings |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if not helped and id(node) in docstrings:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, node.value


def in_code(source: str, *, helped: bool) -> list[tuple[int, str]]:
    return [
        (start + line - 1, found)
        for start, text in sentences(source, helped=helped)
        for line, found in refused(text)
    ]


def places(path: Path, found: list[tuple[int, str]]) -> str:
    return "\n".join(f"{name(path)}:{line}: {words}" for line, words in found)


@pytest.mark.parametrize("path", CODE, ids=name)
def test_what_a_program_says_is_in_the_fields_terms(path: Path) -> None:
    helped = name(path).startswith("cdc/cli/")
    found = in_code(path.read_text("utf-8"), helped=helped)
    assert not found, places(path, found)


@pytest.mark.parametrize("path", GUIDES, ids=name)
def test_a_guide_uses_the_fields_terms(path: Path) -> None:
    found = in_guide(path.read_text("utf-8"))
    assert not found, places(path, found)


@pytest.mark.parametrize("path", GUIDES, ids=name)
def test_a_guide_is_short(path: Path) -> None:
    words = [word for word in path.read_text("utf-8").split() if word != "|"]
    assert len(words) <= MOST_WORDS


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_a_page_of_the_console_uses_the_fields_terms(path: Path) -> None:
    text = MARKUP.sub(lambda found: re.sub(r"\S", " ", found[0]), path.read_text("utf-8"))
    found = refused(text)
    assert not found, places(path, found)


@pytest.mark.parametrize("path", READ_BY_OTHERS, ids=name)
def test_what_dbas_and_operators_read_uses_the_fields_terms(path: Path) -> None:
    found = in_guide(path.read_text("utf-8"))
    assert not found, places(path, found)


def test_names_of_tests_use_the_fields_terms() -> None:
    """A test is found by searching for the thing that it is about."""
    assert TEST.search("def test_what_nobody" + "_reads() -> None:")
    found = {
        name(path): hits for path in files(".py") if (hits := TEST.findall(path.read_text("utf-8")))
    }
    assert not found


def test_others_are_found() -> None:
    guide = "# A\n\nNobody is told, once\nmore, of `so many`.\n```\nanew\n```\nThis is no guide.\n"
    assert in_guide(guide) == [(3, "Nobody"), (3, "told"), (3, "once more"), (8, "is no guide")]
    assert not in_guide("<!-- x: written by `y` -->\nunder way\n<!-- end of x -->")
    assert in_guide("It has to be read.") == [(1, "has to be")]
    assert not in_guide("There is no order, and it is no longer kept.")
    for planted in ("It goes on.", "What came of it", "a daemon that stands still", "it is well"):
        assert in_guide(planted), planted
    for planted in ("No row, say.", "takes no connection", "open for long", "keeps vacuum back"):
        assert in_guide(planted), planted
    assert not in_guide("All is well. It takes no lock, and is open for longer than an hour.")
    planted = '"""Is no docstring."""\nraise E(f"{x} is no time. Who asks?")\n'
    assert in_code(planted, helped=False) == [(2, "is no time"), (2, "Who")]
    assert in_code(planted, helped=True)[0] == (1, "Is no docstring")
