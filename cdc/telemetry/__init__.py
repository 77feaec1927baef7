"""What is worth observing: one list, which feeds the log and the metrics."""

from cdc.telemetry.events import Observer
from cdc.telemetry.log import configure_logging, is_json
from cdc.telemetry.metrics import Backlog, State
from cdc.telemetry.pulse import Pulse, watch_for_stillness
from cdc.telemetry.systemd import Systemd
from cdc.telemetry.traces import check_traces, open_traces

__all__ = [
    "Backlog",
    "Observer",
    "Pulse",
    "State",
    "Systemd",
    "check_traces",
    "configure_logging",
    "is_json",
    "open_traces",
    "watch_for_stillness",
]
