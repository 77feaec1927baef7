"""Lanes with nothing to do for a while: what they leave behind when memory is needed for others."""

from __future__ import annotations

from dataclasses import dataclass

from cdc.lanes.sending import Limits
from cdc.model import Span

RESTING_AFTER_S = 1.0
"""Seconds without anything to do for which a lane counts as resting."""


@dataclass(frozen=True, slots=True)
class Rest:
    """What the next lane of the same webhook in the same daemon begins with.

    unread: where rows lie that were not sent; None: nowhere.
    wake:   when there is something to do if nothing else happens, monotonic; None: never.
    limits: breaker, rate and slow-down; None: as those of a new lane.
    """

    unread: Span | None
    wake: float | None
    limits: Limits | None
