"""The operator's guides: states, metrics, errors, checks and numbers are the program's."""

from __future__ import annotations

import asyncio
import re
from collections import Counter

from cdc.daemon.app import FLUSH_WITHIN_S
from cdc.daemon.maintenance.measure import MEASURE_EVERY_S, MEASURE_SHARE_OF_TIME
from cdc.diagnosis import deliveries
from cdc.diagnosis.health.reading import COUNT_AT_MOST
from cdc.lanes.breaker import BreakerState
from cdc.model import SHARDS, Outcome, WebhookState
from cdc.settings import Settings
from cdc.telemetry import Backlog, Observer, State
from cdc.telemetry.otel import CLOSE_WITHIN_S
from cdc.telemetry.pulse import STUCK_AFTER_S
from tests.docs.pages import codes, page, table
from tests.house.files import TOP

RUN, WEBHOOKS, MONITORING, RUNBOOK = (
    page(f"docs/{name}.md") for name in ("run", "webhooks", "monitoring", "runbook")
)


def first(rows: list[dict[str, str]], head: str) -> list[str]:
    return [(codes(row[head]) or [row[head]])[0] for row in rows]


def test_states_of_a_webhook() -> None:
    rows = table(WEBHOOKS, "state", "collects", "sends")
    assert first(rows, "state") == list(WebhookState)
    assert [row["collects"].split(",")[0] for row in rows] == ["yes", "yes", "yes", "no"]
    assert [row["sends"].split(",")[0] for row in rows] == ["yes", "no", "no", "no"]


def test_states_of_a_delivery() -> None:
    rows = table(WEBHOOKS, "state", "means")
    documented = first(rows, "state")
    assert set(documented) - {"in flight"} == set(deliveries.STATES) - {"waiting"}
    # Those that end are what the log may hold, beside attempts that were followed by another.
    schema = (TOP / "sql/schema/70_attempt.sql").read_text("utf-8")
    listed = re.search(r"outcome in \(([^)]+)\)", schema)
    assert listed
    ends = {
        state
        for state, row in zip(documented, rows, strict=True)
        if row["means"].startswith("ended")
    }
    assert ends | {"failed"} == set(re.findall(r"'(\w+)'", listed[1]))


def test_states_of_a_breaker() -> None:
    assert all(f"`{state}` (" in WEBHOOKS for state in BreakerState)


def test_every_metric_is_documented() -> None:
    observer = Observer()
    observer.metrics.watch(lambda: State(0, 0, 0, Counter(), "sleeping", True))
    observer.clock(0.0, off=False)
    observer.measured(Backlog(0, 0, 0, 0, 0, 0, 0.0, 0.0, 0.0, 0.0))
    page = asyncio.run(observer.metrics.page()).decode()
    kinds = re.findall(r"^# TYPE (\w+) (\w+)$", page, re.MULTILINE)
    exported = {name for name, _ in kinds if not name.endswith("_created")}
    assert set(first(table(MONITORING, "metric", "means"), "metric")) == exported


def test_every_error_is_documented() -> None:
    """All classes of errors that an attempt can end with, but a status, which speaks for itself."""
    assert Outcome.__doc__
    listed = Outcome.__doc__.partition("error:")[2].partition("detail:")[0]
    known = set(re.findall(r"``(\w+)``", listed))
    rows = table(RUNBOOK, "you see", "cause")
    documented = {
        code for row in rows if "error" in row["you see"] for code in codes(row["you see"])
    }
    assert documented == known - {"status"}


def test_the_documented_numbers_are_the_defaults() -> None:
    run, webhooks, monitoring, runbook = (
        " ".join(text.split()) for text in (RUN, WEBHOOKS, MONITORING, RUNBOOK)
    )
    defaults = Settings()
    assert f"end within {defaults.stop_grace:g} s (`CDC_STOP_GRACE`)" in run
    assert defaults.stop_grace + FLUSH_WITHIN_S + CLOSE_WITHIN_S < 30
    assert "for 30 s before it kills" in run
    assert f"spread over {SHARDS} shards" in run
    assert "hangs: 45 s after it stopped running" in run
    assert f"or {STUCK_AFTER_S + 45:g} s after the last answer" in run
    assert f"{defaults.breaker_failures} failures in a row" in webhooks
    assert f"failed for {defaults.suspend_after_days:g} days" in webhooks
    assert f"failed for {defaults.suspend_after_days:g} days" in runbook
    assert webhooks.count(f"for {defaults.held_days:g} days") >= 2
    assert f"it and the suspension are {defaults.held_days:g} days old" in runbook
    assert f"every {MEASURE_EVERY_S:g} s (less often" in monitoring
    assert f"where that takes more than {MEASURE_SHARE_OF_TIME:.0%}" in monitoring
    assert f"counts stop at {COUNT_AT_MOST:,} a webhook" in monitoring
