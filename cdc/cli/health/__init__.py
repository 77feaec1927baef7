"""How everything stands, read at once: what `cdc status` shows. Needs no more than cdc_reader.

model.py    what is known, and what of it is wrong (pure)
read.py   asks the database, at a cost that does not grow with what waits
"""

from cdc.cli.health.model import LATE, Bell, Daemon, Health, Lane, Unresolved
from cdc.cli.health.reading import fleet, lanes, read, strangers, unresolved

__all__ = [
    "LATE",
    "Bell",
    "Daemon",
    "Health",
    "Lane",
    "Unresolved",
    "fleet",
    "lanes",
    "read",
    "strangers",
    "unresolved",
]
