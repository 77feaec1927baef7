"""What is worth observing: one list, which feeds the log and the metrics."""

from cdc.observe.events import Observer
from cdc.observe.http import HealthServer
from cdc.observe.log import configure_logging
from cdc.observe.metrics import Backlog, State
from cdc.observe.pulse import Pulse
from cdc.observe.systemd import Systemd

__all__ = ["Backlog", "HealthServer", "Observer", "Pulse", "State", "Systemd", "configure_logging"]
