"""The charts that the documentation shows, drawn from the figures of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.figures import Figure

PERCENTILES = ("p50", "p90", "p99", "p999", "max")


@dataclass(frozen=True, slots=True)
class Line:
    """color: its number.  dashed: a baseline."""

    name: str
    points: Sequence[tuple[float, float]]
    color: int = 0
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """x_names: what stands at the places of the x axis, where that is no number.

    log_x, log_y: logarithmic axes; points at or below zero are left out there.
    """

    title: str
    x: str
    y: str
    lines: Sequence[Line]
    x_names: Sequence[tuple[float, str]] = ()
    log_x: bool = False
    log_y: bool = False

    def save(self, file: Path) -> None:
        """Draws it as SVG."""
        # It takes longer to import than all the rest of the benchmark.
        import matplotlib
        from matplotlib import figure as drawing

        house = matplotlib.rc_context(
            {
                "axes.grid": True,
                "axes.spines.right": False,
                "axes.spines.top": False,
                "grid.color": "#ddd",
                "svg.fonttype": "none",
                "svg.hashsalt": "cdc",  # the same figures make the same file
            }
        )
        with house:
            drawn = drawing.Figure(figsize=(9, 4.5), layout="constrained")
            axes = drawn.subplots()
            for line in self.lines:
                points = [point for point in line.points if self._has_place(*point)]
                style = "--" if line.dashed else "-"
                xs, ys = [x for x, _ in points], [y for _, y in points]
                axes.plot(xs, ys, style, color=f"C{line.color}", label=line.name)
            axes.set(title=self.title, xlabel=self.x, ylabel=self.y)
            axes.set_xscale("log" if self.log_x else "linear")
            axes.set_yscale("log" if self.log_y else "linear")
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_formatter(lambda value, _: f"{value:,g}")
            if self.x_names:
                axes.set_xticks(*zip(*self.x_names, strict=True))
            if not self.log_y:
                axes.set_ylim(bottom=0)
            if self.lines:
                drawn.legend(loc="outside right upper", frameon=False)
            drawn.savefig(file, metadata={"Date": None})

    def _has_place(self, x: float, y: float) -> bool:
        return (x > 0 or not self.log_x) and (y > 0 or not self.log_y) and y != inf


def charts(figures: Sequence[Figure]) -> dict[str, Chart]:
    """By the name of their file; those whose workload was not run are left out."""
    found = {
        "latency": _latency([f for f in figures if f.workload == "live" and f.more]),
        "drain": _over_time([f for f in figures if "over_time" in f.more]),
    }
    bells = [f for f in figures if f.workload == "doorbell"]
    for name, key, y in (
        ("doorbell-writers", "written", "changes/s committed"),
        ("doorbell-latency", "p99", "ms, p99 to receipt"),
    ):
        found[name] = _doorbell(bells, key, y)
    return {name: chart for name, chart in found.items() if chart is not None}


def _latency(figures: list[Figure]) -> Chart | None:
    by_rate = {f.more["rate"]: f for f in figures if "percentiles" in f.more}
    places = [(float(n), name) for n, name in enumerate(PERCENTILES)]
    lines = []
    for color, (rate, figure) in enumerate(by_rate.items()):
        for who, key in (("", "percentiles"), (" (b)", "baseline_percentiles")):
            reported = figure.more[key]
            points = [(place, median(reported[name])) for place, name in places]
            lines.append(Line(f"{rate:,} changes/s{who}", points, color, bool(who)))
    if not lines:
        return None
    return Chart("From COMMIT to receipt", "percentile", "ms", lines, places, log_y=True)


def _over_time(figures: list[Figure]) -> Chart | None:
    lines: list[Line] = []
    reported: set[str] = set()
    for figure in figures:
        step = figure.more["over_time_step_s"]
        name = (
            "a full queue is drained"
            if figure.workload == "drain"
            else f"live, {figure.more['rate']:,} changes/s"
        )
        # The last step is cut: it says nothing about a rate.
        values = figure.more["over_time"][:-1]
        if name not in reported and values:
            points = [((n + 0.5) * step, value) for n, value in enumerate(values)]
            lines.append(Line(name, points, len(reported)))
            reported.add(name)
    if not lines:
        return None
    return Chart("Deliveries over time", "seconds", "deliveries/s", lines)


def _doorbell(figures: list[Figure], key: str, y: str) -> Chart | None:
    lines = []
    for color, figure in enumerate(figures):
        mode = figure.name.rpartition(" ")[2]
        points = [(_offered(point, figure), float(point[key])) for point in figure.more["points"]]
        lines.append(Line(f"bell {mode}", points, color))
    if not lines:
        return None
    title = "The bell: adaptive, always rung, never (flush of 1 ms)"
    return Chart(
        title,
        "changes/s offered; the last point: as many as come about",
        y,
        lines,
        log_x=True,
        log_y=True,
    )


def _offered(point: dict[str, Any], figure: Figure) -> float:
    """Saturation stands where writers without triggers saturate."""
    offered = point["offered"]
    return float(offered) if offered is not None else (figure.base or 1.0)
