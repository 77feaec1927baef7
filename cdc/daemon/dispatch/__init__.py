"""Keeps the lanes going: fills windows, starts attempts, follows registrations."""

from cdc.daemon.dispatch.dispatcher import Dispatcher

__all__ = ["Dispatcher"]
