"""Links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import HEADING, LINK, anchors, pages, prose
from tests.house.files import TOP, files, name


@pytest.mark.parametrize("path", pages(), ids=name)
def test_relative_links_lead_to_files_and_headings(path: Path) -> None:
    broken = []
    for link in LINK.findall(prose(path.read_text("utf-8"))):
        if "://" in link:
            continue
        target, _, anchor = link.partition("#")
        there = (path.parent / target).resolve() if target else path
        found = there.is_relative_to(TOP) and there.exists()
        if not found or (anchor and anchor not in anchors(there.read_text("utf-8"))):
            broken.append(link)
    assert not broken


def test_every_page_can_be_reached_from_the_first() -> None:
    seen: set[Path] = set()
    ahead = [TOP / "README.md"]
    while ahead:
        path = ahead.pop()
        seen.add(path)
        for link in LINK.findall(prose(path.read_text("utf-8"))):
            there = (path.parent / link.partition("#")[0]).resolve()
            if there.suffix == ".md" and there.exists() and there not in seen:
                ahead.append(there)
    assert not set(pages()) - seen


PATH = re.compile(r"`((?:[\w.-]+/)*[\w.-]+(?:/|\.(?:py|sql|toml|md|yml)))`")
SECTION = re.compile(r"""((?:docs/)?[\w-]+\.md),[\s"]*['"]([^'"]+)['"]""")
OF_DEVELOPERS = [
    "ARCHITECTURE.md",
    "docs/decisions.md",
    "docs/decisions-network.md",
    "docs/decisions-capture.md",
]


@pytest.mark.parametrize("page", OF_DEVELOPERS)
def test_pages_for_developers_name_files_that_are_there(page: str) -> None:
    """Below the top, below ``cdc/``, or (in a list of tests) next to the one named before."""
    missing, folder = [], TOP
    for named in PATH.findall(prose((TOP / page).read_text("utf-8"))):
        found = [base / named for base in (TOP, TOP / "cdc", folder) if (base / named).exists()]
        found += list((TOP / "cdc").rglob(named)) + list((TOP / "sql").rglob(named))
        if not found:
            missing.append(named)
        folder = found[0].parent if found else folder
    assert not missing


def test_sections_that_the_code_names_are_there() -> None:
    missing = []
    for path in files(".py", ".sql", ".toml"):
        text = re.sub(r"\n\s*(?:#|--)?\s*", " ", path.read_text("utf-8"))
        for page, section in SECTION.findall(text):
            heads = HEADING.findall((TOP / page).read_text("utf-8"))
            if section not in heads:
                missing.append(f"{name(path)}: {page}, {section}")
    assert not missing
