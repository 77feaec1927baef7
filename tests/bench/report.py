"""The figures for people: a table in the terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tests.bench.figures import Figure
from tests.bench.run import Report

STYLES = {"aim": "green", "reach": "yellow", "missed": "red"}


def number(value: float | None, unit: str = "") -> str:
    """As many digits as say something."""
    if value is None:
        return ""
    shown = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{shown} {unit}".rstrip() if not unit.startswith("/") else f"{shown}{unit}"


def wanted(figure: Figure, value: float | None) -> str:
    """What has to be reached, in the words of the table."""
    bound = figure.bound
    if bound is None or value is None:
        return ""
    return f"{value:g} x" if bound.of_baseline else number(value, figure.unit)


def heading(report: Report) -> str:
    """The machine, in a line or two."""
    on = report.machine
    text = (
        f"cdc {on['cdc']}, PostgreSQL {on['postgresql']}, Python {on['python']}, "
        f"{on['cores']} cores of {on['processor']}, {on['memory_gb']} GB, {on['kernel']}"
    )
    if on["busy"]:
        text += (
            f"\nThe machine was busy with other work (load {on['load_before']:g} before the "
            "start): the figures are lower than it could do."
        )
    return text


def totals(report: Report) -> str:
    """What was lost and what came twice, in all runs."""
    lost = sum(figure.lost for figure in report.figures)
    repeated = sum(figure.repeated for figure in report.figures)
    return f"In all runs together {lost} deliveries were lost, {repeated} came more than once."


def show(report: Report, console: Console) -> None:
    """Prints all of it."""
    console.print(heading(report))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("", overflow="fold")
    for head in ("value", "baseline", "ratio", "reach", "aim"):
        table.add_column(head, justify="right", no_wrap=True)
    before = ""
    for figure in report.figures:
        if figure.workload != before:
            table.add_row(Text(figure.workload, "bold"))
            before = figure.workload
        table.add_row(*_cells(figure))
    console.print(table)
    console.print(totals(report))
    for name, why in report.skipped.items():
        console.print(f"left out: {name}: {why}")
    for name, why in report.failed.items():
        console.print(Text(f"failed: {name}: {why}", "red"))


def _cells(figure: Figure) -> list[Text]:
    bound = figure.bound
    style = STYLES.get(figure.verdict, "")
    by_ratio = bound is not None and bound.of_baseline
    what = Text("  " + figure.name)
    if figure.against:
        what.append(f"\n    beside {figure.against}", "dim")
    if figure.note:
        what.append(f"\n    {figure.note}", "yellow")
    if figure.lost or figure.repeated:
        what.append(f"\n    {figure.lost} lost, {figure.repeated} repeated", "red")
    return [
        what,
        Text(number(figure.value, figure.unit), "" if by_ratio else style),
        Text(number(figure.base, figure.unit)),
        Text("" if figure.ratio is None else f"{figure.ratio:.2f} x", style if by_ratio else ""),
        Text(wanted(figure, bound.reach if bound else None)),
        Text(wanted(figure, bound.aim if bound else None)),
    ]
