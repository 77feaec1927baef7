"""Traces: a span for each attempt, sent to a collector; nothing of it while it is off."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from cdc.errors import ConfigError
from cdc.model import Answer, Delivery, Layout, Outcome
from cdc.sandbox.receiver import Script
from cdc.telemetry import check_traces, otel
from cdc.telemetry.otel import Traces, trace_of
from tests.daemon.conftest import suite_url, world
from tests.daemon.running import LIMIT, Process, Running
from tests.daemon.world import World

__all__ = ["suite_url", "world"]

CHANGED = datetime(2015, 3, 16, 15, 32, 34, 174752, tzinfo=UTC)


@pytest.fixture
def logged() -> list[str]:
    return []


@pytest.fixture
def memory() -> InMemorySpanExporter:
    return InMemorySpanExporter()


def delivery(uid: str = "0f6ae0b3-5c0d-4a58-9d1c-6a3a2f3e9b57", tries: int = 1) -> Delivery:
    layout = Layout(1, "rating_changed", ("base", "company", "rating"))
    refs = (None, "1", "9")
    return Delivery(4711, 3, 1, uid, layout, "modified", CHANGED, refs, tries=tries)


async def test_errors_of_the_sdk_show_no_key_of_the_collector(
    logged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = "api-key: marked-1, authorization=Basic bWFya2VkOjI="
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", headers)
    place = "http://me:marked-3@127.0.0.1:1/marked-4/in?key=marked-5"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", place)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
    monkeypatch.setattr(otel, "CLOSE_WITHIN_S", 0.1)
    heard = asyncio.Event()

    def log(line: str) -> None:
        logged.append(line)
        if "127.0.0.1" in line:
            heard.set()

    traces = Traces(log)
    good = Outcome(Answer.SUCCESS, 200, None, "", 0.25)
    traces.attempted(delivery(), good, "delivered")
    async with asyncio.timeout(LIMIT):
        await heard.wait()
    await traces.close()
    assert "Header format invalid" in logged[0]
    assert not any(key in line for line in logged for key in ("marked", "bWFya2Vk"))


async def test_a_span_describes_the_attempt(
    memory: InMemorySpanExporter, logged: list[str]
) -> None:
    traces = Traces(logged.append, memory)
    good = Outcome(Answer.SUCCESS, 200, None, "", 0.25)
    bad = Outcome(Answer.FAILURE, 500, "status", "the receiver answered 500", 0.125)
    none = Outcome(Answer.FAILURE, None, "timeout", "no complete answer within 15 s", 15.0)
    traces.attempted(delivery(), bad, "retry")
    traces.attempted(delivery(tries=2), good, "delivered")
    traces.attempted(delivery(uid="another"), none, "dead")
    await traces.close()
    first, second, third = memory.get_finished_spans()
    assert first.name == "deliver rating_changed"
    assert first.attributes is not None
    assert {name: first.attributes[name] for name in first.attributes if "seconds" not in name} == {
        "cdc.event": "rating_changed",
        "cdc.action": "modified",
        "cdc.webhook": 3,
        "cdc.delivery": 4711,
        "cdc.webhook_id": delivery().uid,
        "cdc.try": 1,
        "cdc.change_time": "2015-03-16T15:32:34.174752+00:00",
        "cdc.outcome": "status",
        "cdc.fate": "retry",
        "http.request.method": "POST",
        "http.response.status_code": 500,
    }
    assert first.end_time is not None
    assert first.start_time is not None
    assert first.end_time - first.start_time == 125_000_000
    since = first.attributes["cdc.seconds_since_change"]
    assert since == pytest.approx(first.end_time / 1e9 - CHANGED.timestamp())
    assert (first.status.status_code, first.status.description) == (StatusCode.ERROR, bad.detail)
    assert second.attributes is not None
    assert second.attributes["cdc.outcome"] == "delivered"
    assert second.status.status_code is StatusCode.UNSET
    assert third.attributes is not None
    assert "http.response.status_code" not in third.attributes
    # All attempts of a delivery are one trace.
    assert first.context.trace_id == second.context.trace_id == trace_of(delivery().uid)
    assert third.context.trace_id != first.context.trace_id
    assert len({span.context.span_id for span in (first, second, third)}) == 3
    assert not logged


def test_samplers_may_take_the_trace_for_chance() -> None:
    """They go by the lower half; that of a UUID always begins with the same two bits."""
    quarters = {(trace_of(f"{n}") & (2**64 - 1)) >> 62 for n in range(100)}
    assert quarters == {0, 1, 2, 3}


async def test_the_service_name_can_be_set(
    logged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, later = InMemorySpanExporter(), InMemorySpanExporter()
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=staging")
    traces = Traces(logged.append, memory)
    traces.attempted(delivery(), Outcome(Answer.SUCCESS, 200, None, "", 0.1), "delivered")
    await traces.close()
    monkeypatch.setenv("OTEL_SERVICE_NAME", "hooks")
    other = Traces(logged.append, later)
    other.attempted(delivery(), Outcome(Answer.SUCCESS, 200, None, "", 0.1), "delivered")
    await other.close()
    spans = (*memory.get_finished_spans(), *later.get_finished_spans())
    resources = [dict(span.resource.attributes) for span in spans]
    assert [resource["service.name"] for resource in resources] == ["cdc", "hooks"]
    assert resources[0]["deployment.environment"] == "staging"
    assert ":" in str(resources[0]["service.instance.id"])


class Deaf(SpanExporter):
    """A collector that takes its time."""

    def __init__(self) -> None:
        self.go_on = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.go_on.wait(LIMIT)
        return SpanExportResult.SUCCESS


async def test_a_collector_that_hangs_does_not_hold_up_the_end(
    logged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(otel, "CLOSE_WITHIN_S", 0.05)
    deaf = Deaf()
    traces = Traces(logged.append, deaf)
    traces.attempted(delivery(), Outcome(Answer.SUCCESS, 200, None, "", 0.1), "delivered")
    await traces.close()
    assert logged == ["the last spans were not taken in time"]
    deaf.go_on.set()


class Collector:
    """Takes spans by OTLP over HTTP, as the world's collectors do."""

    def __init__(self) -> None:
        self.spans: list[dict[str, Any]] = []
        self.services: set[str] = set()

    async def take(self, request: web.Request) -> web.Response:
        message = ExportTraceServiceRequest.FromString(await request.read())
        for group in message.resource_spans:
            self.services |= {
                a.value.string_value for a in group.resource.attributes if a.key == "service.name"
            }
            for span in (span for scope in group.scope_spans for span in scope.spans):
                values = {a.key: a.value for a in span.attributes}
                self.spans.append(
                    {
                        "trace": span.trace_id,
                        "webhook": values["cdc.webhook"].int_value,
                        "event": values["cdc.event"].string_value,
                        "outcome": values["cdc.outcome"].string_value,
                        "fate": values["cdc.fate"].string_value,
                    }
                )
        return web.Response()


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    made = Collector()
    app = web.Application()
    app.add_routes([web.post("/v1/traces", made.take)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    yield made
    await runner.cleanup()


async def test_a_daemon_sends_them(world: World, collector: Collector) -> None:
    hook = await world.hook("rating")
    world.receiver.script(hook.path, Script(fail_first=1))
    writer = await world.writer()
    candidate = await writer.insert("candidate", project_id=1)
    async with Running(world.url, traces=True, retry_schedule=[0.01]):
        await writer.insert("rating", candidate_id=candidate, customer_id=1)
        await world.arrived(hook)
        await world.settled()
    failed, delivered = collector.spans
    trace = failed.pop("trace")
    assert failed == {
        "webhook": hook.id,
        "event": "rating_changed",
        "outcome": "status",
        "fate": "retry",
    }
    assert delivered == {
        "trace": trace,
        "webhook": hook.id,
        "event": "rating_changed",
        "outcome": "delivered",
        "fate": "delivered",
    }
    assert collector.services == {"cdc"}


async def test_without_a_collector_all_is_delivered_and_one_line_logged(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Port 9 of this machine: no process listens.
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    hook = await world.hook("project")
    writer = await world.writer()
    async with Process(world.url, traces=True) as daemon:
        await daemon.until("connected")
        await writer.insert("project", company_id=1)
        await world.arrived(hook)
        await daemon.until("traces cannot be sent")
        daemon.signal(signal.SIGTERM)
        assert await daemon.ended() == 0
    # All of it in the form of the log, nothing beside it.
    assert daemon.other == []


async def test_nothing_is_imported_while_it_is_off(world: World) -> None:
    code = (
        "import sys, asyncio, cdc.cli.run\n"
        "from cdc.daemon.app import App\n"
        "from cdc.settings import load\n"
        "App(load())\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])\n"
    )
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", code],
        env={"CDC_DATABASE_URL": world.url},
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


async def test_without_its_packages_it_is_refused_with_what_to_do(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match="not installed") as refused:
        check_traces()
    assert "cdc-webhooks[otel]" in refused.value.hint
    with pytest.raises(ConfigError, match="not installed"):
        async with Running(world.url, traces=True):
            pass
