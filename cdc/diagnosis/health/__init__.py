"""How everything stands, read at once: what `cdc status` shows. Needs no more than cdc_reader.

model.py    what is known
reading.py  asks the database, at a cost that does not grow with what waits
problems.py what of it is wrong, and what to do
"""

from cdc.diagnosis.health.model import LATE, Bell, DaemonState, Health, LaneState, Unresolved
from cdc.diagnosis.health.problems import HealthProblem, problems
from cdc.diagnosis.health.reading import details, expired, fleet, lanes, read, unresolved

__all__ = [
    "LATE",
    "Bell",
    "DaemonState",
    "Health",
    "HealthProblem",
    "LaneState",
    "Unresolved",
    "details",
    "expired",
    "fleet",
    "lanes",
    "problems",
    "read",
    "unresolved",
]
