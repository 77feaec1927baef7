"""Writes the table of settings in docs/configuration.md, and the example file: `make docs`."""

from __future__ import annotations

from pathlib import Path

from cdc.settings import default_file, describe

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
BEGIN = "<!-- settings: written by `make docs` from cdc/settings/model.py -->"
END = "<!-- end of settings -->"


def table() -> str:
    lines = ["| key | environment | accepted | default | meaning |", "|---|---|---|---|---|"]
    for key in describe():
        default = f"`{key.default.replace(',', ', ')}`" if key.default else ""
        cells = (f"`{key.name}`", f"`{key.env}`", key.type, default, key.description)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def current(page: str) -> str:
    """The page with the table as it should be."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}"


EXAMPLE = PAGE.with_name("cdc.example.toml")

if __name__ == "__main__":
    EXAMPLE.write_text(default_file(), encoding="utf-8")
    PAGE.write_text(current(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
