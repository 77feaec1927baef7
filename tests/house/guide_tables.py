"""Writes the tables of the guides that follow from the code, and the example file: `make docs`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

from cdc.diagnosis.doctor import checks
from cdc.mapping import default_mapping
from cdc.message import catalog
from cdc.settings import default_file, describe

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLE = DOCS / "cdc.example.toml"


def settings() -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("key", "environment", "accepted", "default", "meaning")]
    for key in describe():
        default = f"`{key.default.replace(',', ', ')}`" if key.default else ""
        rows.append((f"`{key.name}`", f"`{key.env}`", key.type, default, key.description))
    return rows


def doctor() -> list[tuple[str, ...]]:
    """The first paragraph of each check's docstring says what it looks for."""
    rows: list[tuple[str, ...]] = [("check", "what it checks")]
    for name, check in (one for group in checks() for one in group.items()):
        meaning = (inspect.getdoc(check) or "").partition("\n\n")[0]
        assert meaning, f"the check {name!r} has no docstring"
        rows.append((f"`{name}`", meaning.replace("\n", " ")))
    return rows


def events() -> list[tuple[str, ...]]:
    return catalog.rows(default_mapping())


TABLES: dict[Path, tuple[str, str, Callable[[], list[tuple[str, ...]]]]] = {
    DOCS / "configuration.md": ("settings", "cdc/settings/model.py", settings),
    DOCS / "protocol.md": ("events", "the default mapping", events),
    DOCS / "monitoring.md": ("checks", "cdc/diagnosis/doctor", doctor),
}


def current(page: Path) -> str:
    """The page with its table as it should be."""
    name, source, rows = TABLES[page]
    begin, end = f"<!-- {name}: written by `make docs` from {source} -->", f"<!-- end of {name} -->"
    before, _, rest = page.read_text("utf-8").partition(begin)
    assert end in rest, f"{page} has no place for the table {name!r}"
    head, *body = rows()
    lines = [f"| {' | '.join(row)} |" for row in (head, *body)]
    lines.insert(1, "|" + "---|" * len(head))
    return f"{before}{begin}\n\n" + "\n".join(lines) + f"\n\n{end}{rest.partition(end)[2]}"


if __name__ == "__main__":
    EXAMPLE.write_text(default_file(), encoding="utf-8")
    for path in TABLES:
        path.write_text(current(path), encoding="utf-8")
