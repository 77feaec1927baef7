"""Order, concurrency, rate, breaker and back-off of one webhook: ``Lane``, and what it decides."""

from cdc.lanes.breaker import BreakerState
from cdc.lanes.capacity import Capacity
from cdc.lanes.decision import (
    PLAIN_SUCCESS,
    Dead,
    Decision,
    Delivered,
    DuePlan,
    FetchPlan,
    Kept,
    Retry,
    Settlement,
    Transition,
)
from cdc.lanes.lane import Lane
from cdc.lanes.rest import Rest
from cdc.lanes.rules import LaneRules

__all__ = [
    "PLAIN_SUCCESS",
    "BreakerState",
    "Capacity",
    "Dead",
    "Decision",
    "Delivered",
    "DuePlan",
    "FetchPlan",
    "Kept",
    "Lane",
    "LaneRules",
    "Rest",
    "Retry",
    "Settlement",
    "Transition",
]
