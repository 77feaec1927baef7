"""Which charts the documentation shows, from the figures of a run."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from tests.bench.figures import Figure
from tests.bench.plot import Chart, Line

PERCENTILES = ("p50", "p90", "p99", "p999", "max")


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
    by_rate = {figure.more["rate"]: figure for figure in figures}
    places = [(float(n), name) for n, name in enumerate(PERCENTILES)]
    lines = []
    for color, (rate, figure) in enumerate(by_rate.items()):
        for dashed, (who, key) in enumerate(
            (("", "percentiles"), (" (b)", "baseline_percentiles"))
        ):
            told = figure.more[key]
            points = [(place, median(told[name])) for place, name in places]
            lines.append(Line(f"{rate:,} changes/s{who}", points, color, dashed))
    if not lines:
        return None
    return Chart("From COMMIT to receipt", "percentile", "ms", lines, places, log_y=True)


def _over_time(figures: list[Figure]) -> Chart | None:
    lines: list[Line] = []
    told: set[str] = set()
    for figure in figures:
        step = figure.more["over_time_step_s"]
        name = (
            "a full queue is drained"
            if figure.workload == "drain"
            else f"live, {figure.more['rate']:,} changes/s"
        )
        # The last step is cut: it says nothing about a rate.
        values = figure.more["over_time"][:-1]
        if name not in told and values:
            points = [((n + 0.5) * step, value) for n, value in enumerate(values)]
            lines.append(Line(name, points, len(told)))
            told.add(name)
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
