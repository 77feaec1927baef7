"""Spans for OpenTelemetry: one for each attempt. The only file that imports its SDK, and it is
imported only where `traces` is on (see traces.py)."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import random
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC

from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import SpanKind, Status, StatusCode

from cdc import __version__
from cdc.model import Delivery, Outcome

CLOSE_WITHIN_S = 5.0
"""Seconds that a collector may take for the last spans when the daemon stops."""


class Traces:
    """Sends spans in batches from a thread of its own; those that no collector takes are dropped.

    failed:   gets the SDK's complaints, a line each, on the loop that made this.
    exporter: where spans go; without, by OTLP over HTTP as ``OTEL_EXPORTER_OTLP_*`` say.
    """

    def __init__(self, failed: Callable[[str], None], exporter: SpanExporter | None = None) -> None:
        self._complaints = _Complaints(failed)
        _LOGGER.addHandler(self._complaints)
        _LOGGER.propagate = False
        if exporter is None:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            exporter = OTLPSpanExporter()
        self._ids = _Ids()
        self._provider = TracerProvider(
            id_generator=self._ids, resource=_resource(), shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("cdc", __version__)

    def attempted(self, delivery: Delivery, outcome: Outcome, fate: str) -> None:
        """An attempt has just ended. fate: what becomes of the delivery."""
        ended = time.time_ns()
        began = ended - int(outcome.duration * 1e9)
        self._ids.trace = trace_of(delivery.uid)
        span = self._tracer.start_span(
            f"deliver {delivery.layout.event}",
            kind=SpanKind.CLIENT,
            start_time=began,
            attributes={
                "cdc.event": delivery.layout.event,
                "cdc.action": delivery.action,
                "cdc.webhook": delivery.webhook_id,
                "cdc.delivery": delivery.id,
                "cdc.webhook_id": delivery.uid,
                "cdc.try": delivery.tries,
                "cdc.change_time": delivery.time.astimezone(UTC).isoformat(),
                "cdc.seconds_since_change": ended / 1e9 - delivery.time.timestamp(),
                "cdc.outcome": outcome.error or "delivered",
                "cdc.fate": fate,
                "http.request.method": "POST",
            },
        )
        if outcome.status is not None:
            span.set_attribute("http.response.status_code", outcome.status)
        if outcome.error is not None:
            span.set_status(Status(StatusCode.ERROR, outcome.detail))
        span.end(ended)

    async def close(self) -> None:
        """Sends what is left, for as long as ``CLOSE_WITHIN_S`` at the most."""
        loop = asyncio.get_running_loop()
        closed = asyncio.Event()

        def close() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # its loop has ended
                loop.call_soon_threadsafe(closed.set)

        # A thread that need not be waited for: a collector may not answer at all.
        threading.Thread(target=close, name="cdc-traces", daemon=True).start()
        try:
            async with asyncio.timeout(CLOSE_WITHIN_S):
                await closed.wait()
        except TimeoutError:
            self._complaints.failed("the last spans were not taken in time")
        finally:
            _LOGGER.removeHandler(self._complaints)


_LOGGER = logging.getLogger("opentelemetry")


class _Complaints(logging.Handler):
    """What the SDK logs, brought to the daemon's own log; it comes from the SDK's threads.

    Some of it repeats the collector's URL, and headers that cannot be read: keys are in them.
    """

    def __init__(self, failed: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._hidden = _keys(os.environ)
        self.failed = failed
        self._loop = asyncio.get_running_loop()

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        for key in self._hidden:
            message = message.replace(key, "[hidden]")
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self.failed, " ".join(message.split()))


def _keys(variables: Mapping[str, str]) -> list[str]:
    """What may be secret in how the collector is reached, longest first: headers, and of its URL
    all but host and port."""
    found: set[str] = set()
    for name, value in variables.items():
        if not name.startswith("OTEL_EXPORTER_OTLP_"):
            continue
        if name.endswith("HEADERS"):
            for header in value.split(","):
                found |= {header.strip(), re.split("[=:]", header, maxsplit=1)[-1].strip()}
        elif name.endswith("ENDPOINT"):
            login, _, place = value.partition("://")[2].rpartition("@")
            path = re.sub(r"^[^/?]*", "", place).rstrip("/")
            found |= {login, login.partition(":")[2], path}
    return sorted((one for one in found if len(one) > 3), key=len, reverse=True)


def trace_of(uid: str) -> int:
    """All attempts of a delivery are one trace, whichever daemon makes them.

    Not the webhook-id itself: a part of each is the same, and samplers take that for chance.
    """
    return int.from_bytes(hashlib.blake2b(uid.encode(), digest_size=16).digest())


class _Ids(IdGenerator):
    """trace: of the span that is started next."""

    trace = 0

    def generate_trace_id(self) -> int:
        return self.trace

    def generate_span_id(self) -> int:
        return random.getrandbits(64) or 1


def _resource() -> Resource:
    """Who we are; ``OTEL_SERVICE_NAME`` and ``OTEL_RESOURCE_ATTRIBUTES`` have the last word."""
    ours = {
        "service.name": "cdc",
        "service.version": __version__,
        "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
    }
    return Resource.create(ours).merge(OTELResourceDetector().detect())
