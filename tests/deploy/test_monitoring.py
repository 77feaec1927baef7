"""Alerts and dashboard: valid, about metrics that exist; each alert has a line of what to do."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from collections import Counter
from typing import Any

import pytest
import yaml

from cdc.daemon.supervisor import merged
from cdc.model import SHARDS
from cdc.telemetry import Backlog, Observer, State
from tests.docs.pages import codes, page, table
from tests.house.files import TOP

FOLDER = TOP / "deploy" / "monitoring"
PROMTOOL = shutil.which("promtool")


@pytest.fixture(scope="module")
def exported() -> set[str]:
    """Names of all samples that a fleet's page has."""
    observer = Observer()
    observer.metrics.watch(lambda: State(0, 0, 0, Counter(), "sleeping", True))
    observer.metrics.attempts.delivered(0.1)
    observer.clock(0.0, off=False)
    observer.measured(Backlog(0, 0, 0, 0, 0, 0, 0.0, 0.0, 0.0, 0.0))
    text = merged({1: asyncio.run(observer.metrics.page()).decode()}).decode()
    return set(re.findall(r"^(cdc_\w+)", text, re.MULTILINE))


@pytest.fixture(scope="module")
def from_database() -> set[str]:
    """Names of the metrics that postgres_exporter makes of our queries."""
    queries = yaml.safe_load((FOLDER / "postgres_exporter.yml").read_text())
    return {
        f"{name}_{column}"
        for name, query in queries.items()
        for metric in query["metrics"]
        for column in metric
    }


@pytest.fixture(scope="module")
def alerts() -> dict[str, dict[str, Any]]:
    (group,) = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


def metrics(expression: str) -> set[str]:
    return set(re.findall(r"\bcdc_\w+", expression))


def families(samples: set[str]) -> set[str]:
    return {re.sub(r"_(bucket|sum|count|total|created)$", "", name) for name in samples}


def test_alerts_are_about_metrics_that_exist(
    alerts: dict[str, dict[str, Any]], exported: set[str], from_database: set[str]
) -> None:
    for rule in alerts.values():
        named = metrics(rule["expr"])
        assert named
        assert named <= exported | from_database
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert rule["annotations"]["summary"]
    assert f"< {SHARDS}" in alerts["CdcShardsUnowned"]["expr"]


def test_each_alert_says_what_to_do(alerts: dict[str, dict[str, Any]]) -> None:
    rows = table(page("docs/runbook.md"), "you see", "cause", "do")
    todo = {code: row["do"] for row in rows for code in codes(row["you see"]) if code[:3] == "Cdc"}
    assert sorted(todo) == sorted(alerts)
    assert all(todo.values())


@pytest.mark.skipif(PROMTOOL is None, reason="needs promtool (Debian: prometheus)")
@pytest.mark.parametrize("words", ["check rules alerts.yml", "test rules alerts.test.yml"])
def test_promtool_accepts_them(words: str) -> None:
    assert PROMTOOL is not None
    done = subprocess.run(
        [PROMTOOL, *words.split()], cwd=FOLDER, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tried_both_ways(alerts: dict[str, dict[str, Any]]) -> None:
    """By promtool's own tests, where it is there: silent when all is well, and firing when not."""
    tried = (FOLDER / "alerts.test.yml").read_text()
    for name in alerts:
        assert f"alertname: {name}, exp_alerts: []" in tried
        assert f'alertname="{name}"' in tried or f"alertname: {name}\n" in tried


def test_the_dashboard_shows_metrics_that_exist(exported: set[str]) -> None:
    dashboard = json.loads((FOLDER / "grafana.json").read_text())
    expressions = [t["expr"] for panel in dashboard["panels"] for t in panel["targets"]]
    shown = set().union(*map(metrics, expressions))
    assert shown <= exported
    # Everything is shown, in some form.
    assert families(exported) == families(shown)
    places = [tuple(panel["gridPos"][k] for k in "xy") for panel in dashboard["panels"]]
    assert len(set(places)) == len(places)
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    used = {name for e in expressions for name in re.findall(r"\$(?!__)(\w+)", e)}
    assert used <= variables
