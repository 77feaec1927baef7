"""docs/performance.md: the part of it that is measured."""

from __future__ import annotations

from pathlib import Path

import orjson

from cdc.bench.figures import Figure
from cdc.bench.report import heading, number, wanted
from cdc.bench.run import Report
from cdc.errors import UsageError

BEGIN, END = "<!-- measured: written by make bench -->", "<!-- end of what is measured -->"
VERDICTS = {"aim": "aim reached", "reach": "reached", "missed": "**missed**", "": ""}


def write(report: Report, folder: Path) -> None:
    """Puts tables into ``performance.md`` there, and the figures beside it.

    Raises UsageError where there is no such page, or none with a place for them.
    """
    page = folder / "performance.md"
    text = page.read_text("utf-8") if page.is_file() else ""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise UsageError(f"{page} has no place for what is measured", f"Put {BEGIN} and {END} in.")
    page.write_text(f"{before}{BEGIN}\n\n{_told(report)}\n{END}{after}", "utf-8")
    figures = orjson.dumps(report.as_json(), option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS)
    (folder / "performance.json").write_bytes(figures + b"\n")


def _told(report: Report) -> str:
    parts = [f"Measured {report.machine['at'][:10]}: {heading(report)}", ""]
    before = ""
    for figure in report.figures:
        if figure.workload != before:
            parts += (
                ["", f"### {figure.workload}", ""]
                if before
                else [
                    f"### {figure.workload}",
                    "",
                ]
            )
            parts += [
                "| what | value | baseline | ratio | reach | aim | | lost | repeated |",
                "|---|---:|---:|---:|---:|---:|---|---:|---:|",
            ]
            before = figure.workload
        parts.append(_row(figure))
    parts += [""] + [f"Not measured: {name}: {why}" for name, why in report.skipped.items()]
    return "\n".join(parts)


def _row(figure: Figure) -> str:
    bound = figure.bound
    cells = (
        figure.name + (f" ({figure.note})" if figure.note else ""),
        number(figure.value, figure.unit),
        f"{number(figure.base, figure.unit)} {figure.against}".strip(),
        "" if figure.ratio is None else f"{figure.ratio:.2f} x",
        wanted(figure, bound.reach if bound else None),
        wanted(figure, bound.aim if bound else None),
        VERDICTS[figure.verdict],
        str(figure.lost),
        str(figure.repeated),
    )
    return f"| {' | '.join(cells)} |"
