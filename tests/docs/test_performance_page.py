"""Figures are quoted as they were measured."""

from __future__ import annotations

import re

from tests.house.files import TOP

FIGURE = re.compile(r"[0-9][0-9.,]*(?:/s| ms| s)\b(?! at)")


def test_the_readme_quotes_what_was_measured() -> None:
    readme = (TOP / "README.md").read_text("utf-8")
    section = readme.split("## How fast\n", 1)[1].split("\n## ", 1)[0]
    quoted = FIGURE.findall(section)
    measured = (TOP / "docs" / "performance.md").read_text("utf-8")
    assert len(quoted) > 5
    assert [figure for figure in quoted if f"| {figure} |" not in measured] == []
