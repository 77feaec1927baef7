"""Writes the tables of the guides that follow from the code, and the example file: `make docs`."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from cdc.diagnosis.doctor import checks
from cdc.mapping import default_mapping
from cdc.message import catalog
from cdc.settings import default_file, describe
from cdc.telemetry import Backlog, Observer, State
from cdc.telemetry.serve import RequestMetrics
from tests.bench.run import WORKLOADS

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


def daemon_metrics() -> list[tuple[str, ...]]:
    """Of a daemon that has measured everything."""
    metrics = (observer := Observer()).metrics
    metrics.watch(lambda: State(0, 0, 0, Counter(), "sleeping", True))
    observer.clock(0.0, off=False)
    observer.measured(Backlog(0, 0, 0, 0, 0, 0, 0.0, 0.0, 0.0, 0.0))
    return [("metric", "means"), *_helped(asyncio.run(metrics.page()))]


def serve_metrics() -> list[tuple[str, ...]]:
    return [("metric", "is"), *_helped(RequestMetrics().page())]


def _helped(page: bytes) -> list[tuple[str, ...]]:
    """Names and help texts of a page for Prometheus."""
    found = re.findall(r"^# HELP (\w+) (.+)$", page.decode(), re.MULTILINE)
    return [(f"`{name}`", text) for name, text in found if not name.endswith("_created")]


def workloads() -> list[tuple[str, ...]]:
    """The first paragraph of each docstring says what happens."""
    rows: list[tuple[str, ...]] = [("workload", "what happens")]
    for name, workload in WORKLOADS.items():
        meaning = (inspect.getdoc(workload) or "").partition("\n\n")[0]
        assert meaning, f"the workload {name!r} has no docstring"
        rows.append((f"`{name}`", meaning.replace("\n", " ")))
    return rows


Table = tuple[str, str, Callable[[], list[tuple[str, ...]]]]
TABLES: dict[Path, list[Table]] = {
    DOCS / "configuration.md": [("settings", "cdc/settings/model.py", settings)],
    DOCS / "performance.md": [("workloads", "tests/bench/work", workloads)],
    DOCS / "protocol.md": [("events", "the default mapping", events)],
    DOCS / "monitoring.md": [
        ("checks", "cdc/diagnosis/doctor", doctor),
        ("metrics", "cdc/telemetry/metrics.py", daemon_metrics),
        ("metrics of cdc serve", "cdc/telemetry/serve.py", serve_metrics),
    ],
}


def current(page: Path) -> str:
    """The page with its tables as they should be."""
    text = page.read_text("utf-8")
    for name, source, rows in TABLES[page]:
        begin = f"<!-- {name}: written by `make docs` from {source} -->"
        end = f"<!-- end of {name} -->"
        before, _, rest = text.partition(begin)
        assert end in rest, f"{page} has no place for the table {name!r}"
        head, *body = rows()
        lines = [f"| {' | '.join(row)} |" for row in (head, *body)]
        lines.insert(1, "|" + "---|" * len(head))
        text = f"{before}{begin}\n\n" + "\n".join(lines) + f"\n\n{end}{rest.partition(end)[2]}"
    return text


if __name__ == "__main__":
    EXAMPLE.write_text(default_file(), encoding="utf-8")
    for path in TABLES:
        path.write_text(current(path), encoding="utf-8")
