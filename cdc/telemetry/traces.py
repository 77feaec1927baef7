"""Whether attempts are traced: an optional extra, of which nothing is imported while it is off."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from cdc.errors import ConfigError

if TYPE_CHECKING:
    from cdc.telemetry.otel import Traces


def check_traces() -> None:
    """Raises ConfigError where the packages for it are not installed."""
    try:
        import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
        import_module("opentelemetry.sdk.trace")
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"traces is on, but {error.name} is not installed",
            "Install the extra: pip install 'cdc-webhooks[otel]'. Or leave CDC_TRACES out.",
        ) from None


def open_traces(failed: Callable[[str], None]) -> Traces:
    """Begins to trace; ``failed`` is called when spans cannot be sent. Raises ConfigError."""
    check_traces()
    from cdc.telemetry.otel import Traces

    return Traces(failed)
