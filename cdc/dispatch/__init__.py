"""Keeps the lanes of a tenure going: fills windows, starts attempts, follows registrations."""

from cdc.dispatch.dispatch import Dispatch

__all__ = ["Dispatch"]
