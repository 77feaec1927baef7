"""Figures are quoted as they were measured."""

from __future__ import annotations

from tests.house.files import TOP


def test_the_readme_quotes_what_was_measured() -> None:
    readme = (TOP / "README.md").read_text("utf-8")
    section = readme.split("## How fast\n", 1)[1].split("\n## ", 1)[0]
    quoted = [line for line in section.splitlines() if line.startswith("|")]
    measured = (TOP / "docs" / "performance.md").read_text("utf-8").splitlines()
    assert len(quoted) > 3
    assert [line for line in quoted if line not in measured] == []
