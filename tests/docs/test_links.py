"""Links lead somewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import LINK, anchors, pages, prose
from tests.house.files import TOP, name


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
