"""What is worth observing: one list, to which the log subscribes (metrics will)."""

from cdc.observe.events import Observer
from cdc.observe.log import configure_logging

__all__ = ["Observer", "configure_logging"]
