"""docs/performance.md: the part of it that is measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import orjson

from cdc.errors import UsageError
from tests.bench.charts import Chart, charts
from tests.bench.figures import Figure
from tests.bench.report import heading, number, totals, wanted
from tests.bench.run import Report

PAGE = "performance.md"
BEGIN, END = "<!-- measured: written by make bench -->", "<!-- end of what is measured -->"
TABLE = "| | value | baseline | | ratio | reach | aim | |\n|---|---:|---:|---|---:|---:|---:|---|"
VERDICTS = {"aim": "aim reached", "reach": "reached", "missed": "**missed**", "": ""}


def write(report: Report, folder: Path) -> None:
    """Puts tables into ``performance.md`` there, and figures and charts beside it.

    Raises UsageError where there is no such page, or none with a place for them.
    """
    before, after = place(folder)
    drawn = charts(report.figures)
    plots = folder / "plots"
    plots.mkdir(exist_ok=True)
    for name, chart in drawn.items():
        chart.save(plots / f"{name}.svg")
    text = f"{before}{BEGIN}\n\n{_figures(report, drawn)}\n{END}{after}"
    (folder / PAGE).write_text(text, "utf-8")
    figures = orjson.dumps(report.as_json(), option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS)
    (folder / "performance.json").write_bytes(figures + b"\n")


def place(folder: Path) -> tuple[str, str]:
    """What stands before and after the figures in this folder's page.

    Raises UsageError where there is no such page, or none with a place for them.
    """
    page = folder / PAGE
    text = page.read_text("utf-8") if page.is_file() else ""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise UsageError(f"{page} has no place for what is measured", f"Put {BEGIN} and {END} in.")
    return before, after


def _figures(report: Report, drawn: Mapping[str, Chart]) -> str:
    lines = heading(report).split("\n")
    parts = [f"Measured on {report.machine['at'][:10]}. {lines[0]}", *lines[1:]]
    before = ""
    for figure in report.figures:
        if figure.workload != before:
            parts += [
                "",
                f"### {figure.workload}",
                "",
                TABLE,
            ]
            before = figure.workload
        parts.append(_row(figure))
    parts += ["", totals(report)]
    left_out = {**report.skipped, **report.failed}
    parts += [f"\nNot measured: {name}: {why.splitlines()[0]}" for name, why in left_out.items()]
    parts += [f"\n![{chart.title}](plots/{name}.svg)" for name, chart in drawn.items()]
    return "\n".join(parts)


def _row(figure: Figure) -> str:
    bound = figure.bound
    cells = (
        figure.name + (f" ({figure.note})" if figure.note else ""),
        number(figure.value, figure.unit),
        number(figure.base, figure.unit),
        figure.against,
        "" if figure.ratio is None else f"{figure.ratio:.2f} x",
        wanted(figure, bound.reach if bound else None),
        wanted(figure, bound.aim if bound else None),
        VERDICTS[figure.verdict],
    )
    return f"| {' | '.join(cells)} |"
