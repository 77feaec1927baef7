"""Charts are well-formed and show every line; the page gets its tables."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import orjson
import pytest

from cdc.errors import UsageError
from tests.bench.charts import Chart, Line, charts
from tests.bench.document import BEGIN, END, write
from tests.bench.figures import Bound, Figure
from tests.bench.run import Report

SVG = "{http://www.w3.org/2000/svg}"
MACHINE = {
    "cdc": "1",
    "at": "2015-03-16T15:32+00:00",
    "postgresql": "18.4",
    "python": "3.11",
    "cores": 2,
    "processor": "a processor",
    "memory_gb": 4,
    "kernel": "Linux 6",
    "busy": True,
    "load_before": 3.0,
}


def texts(chart: Chart, folder: Path) -> set[str | None]:
    chart.save(folder / "chart.svg")
    return {text.text for text in ElementTree.parse(folder / "chart.svg").iter(f"{SVG}text")}


def test_a_chart_shows_its_words(tmp_path: Path) -> None:
    line = Line("one <", [(0, 1), (1, 5), (2, 3)])
    chart = Chart("a & b", "across", "up", [line], x_names=[(0, "p50"), (2, "max")])
    assert texts(chart, tmp_path) >= {"a & b", "across", "up", "one <", "p50", "max"}
    first = (tmp_path / "chart.svg").read_bytes()
    texts(chart, tmp_path)
    assert (tmp_path / "chart.svg").read_bytes() == first


def test_what_a_logarithm_has_no_place_for_is_left_out(tmp_path: Path) -> None:
    points = [(0, 1), (1, 2), (20, 0), (300, 3), (4000, float("inf"))]
    shown = texts(Chart("t", "x", "y", [Line("l", points)], log_x=True, log_y=True), tmp_path)
    assert "100" in shown
    assert not shown & {"1,000", "4,000"}
    texts(Chart("t", "x", "y", []), tmp_path)


def report() -> Report:
    percentiles = {name: [1.0, 3.0, 2.0] for name in ("p50", "p90", "p99", "p999", "max")}
    live = {
        "rate": 200,
        "percentiles": percentiles,
        "baseline_percentiles": percentiles,
        "over_time": [190.0, 200.0, 10.0],
        "over_time_step_s": 1.0,
    }
    bell = [
        {"offered": 10, "written": 10.0, "p99": 2.0},
        {"offered": None, "written": 90.0, "p99": 9.0},
    ]
    return Report(
        MACHINE,
        short=False,
        figures=[
            Figure(
                "live",
                "200 changes/s, p50",
                "ms",
                [0.8],
                [0.4],
                "(b)",
                Bound(3, better="less"),
                more=live,
            ),
            Figure(
                "drain",
                "a queue",
                "/s",
                [20000.0],
                [10000.0],
                "(c)",
                Bound(1, 1.8),
                lost=2,
                more={"over_time": [5.0, 6.0, 1.0], "over_time_step_s": 0.25},
            ),
            Figure(
                "doorbell", "bell adaptive", "/s", [90.0], [100.0], "(a)", more={"points": bell}
            ),
        ],
        failed={"tls": "it broke\nhere"},
    )


def test_charts_follow_from_the_figures() -> None:
    found = charts(report().figures)
    assert set(found) == {"latency", "drain", "doorbell-writers", "doorbell-latency"}
    assert [line.name for line in found["latency"].lines] == ["200 changes/s", "200 changes/s (b)"]
    # The last step of a rate over time is cut short and not shown.
    assert [len(line.points) for line in found["drain"].lines] == [2, 2]
    assert charts([]) == {}


def test_the_page_gets_tables_and_keeps_the_rest(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"# Before\n\n{BEGIN}\nold\n{END}\n\nafter\n")
    write(report(), tmp_path)
    text = page.read_text()
    assert text.startswith("# Before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert "| a queue | 20,000/s | 10,000/s | (c) | 2.00 x | 1 x | 1.8 x | aim reached |" in text
    assert "2 deliveries were lost" in text
    assert text.count("\n|---") == text.count("\n### ") == 3
    assert "Not measured: tls: it broke\n" in text
    assert "busy" in text
    for name in charts(report().figures):
        assert f"(plots/{name}.svg)" in text
        ElementTree.parse(tmp_path / "plots" / f"{name}.svg")
    assert orjson.loads((tmp_path / "performance.json").read_bytes())["ok"] is False
    again = text
    write(report(), tmp_path)
    assert page.read_text() == again


def test_a_page_without_a_place_for_them_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no place"):
        write(report(), tmp_path)
    assert not list(tmp_path.iterdir())
