"""The advisory locks of this program: their numbers, and what it means that one is held.

All have two numbers: a class, and what it is about.
"""

from __future__ import annotations

LOCK_CLASS = 0x434443  # "CDC"
"""Class of all locks but ``COMPANY_LOCKS``. Below ``cdc.model.SHARDS``: the owner of that shard."""
MEMBER = 64
"""Held shared by every daemon."""
INSTALLING = 65
"""Held while a migration runs, or capture is installed or removed."""

LOG_LOST = 66
"""Held shared by a daemon that cannot write lines of its log."""
READS_DELETED = 67
"""Held shared by every daemon that can send deleted rows: those of schema version 0001 cannot."""
CLOCK_EVEN, CLOCK_WITHIN = 1_000_000, 900_000
"""The clocks of daemon and database differ: the number less ``CLOCK_EVEN`` is by how many seconds
the daemon's is ahead, as far as ``CLOCK_WITHIN``."""
COMPANY_LOCKS = 0x434444
"""Class of the locks under which the webhooks of a company are counted, by a hash of its key."""

TASK_LOCKS = 0x434445
"""Class of the locks that workers of tasks hold, by a hash of the task's number."""

TRIAL_LOCKS = 0x434446
"""Class of the locks of a daemon's session on the tests of webhooks that it sends, by ``hashtext``
of the task's number: where it is free, that session has ended."""

CLOCK_OFF_S = 30.0
"""From which difference on a daemon shows it."""
CLOCK_BAD_S = 300.0
"""From which difference on receivers refuse what was signed."""


def clock_offset(number: int) -> float | None:
    """Seconds by which the daemon's clock is ahead, if this lock shows them."""
    off = number - CLOCK_EVEN
    return float(off) if abs(off) <= CLOCK_WITHIN else None
