"""What is worth observing: one list, which feeds the log and the metrics."""

from cdc.observe.events import Observer
from cdc.observe.http import HealthServer
from cdc.observe.log import configure_logging, is_json
from cdc.observe.metrics import Backlog, State
from cdc.observe.pulse import Pulse, watch_for_stillness
from cdc.observe.systemd import Systemd
from cdc.observe.traces import check_traces, open_traces

__all__ = [
    "Backlog",
    "HealthServer",
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
