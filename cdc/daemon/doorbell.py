"""When to sleep until the bell rings, and when to poll. Pure: no I/O, no clock of its own.

Writers that ring commit one after another, so the bell is rung only while a daemon sleeps:

* quiet:   the daemon arms the bell and sleeps; a slow poll once a second arms it again and finds
           what the bell did not report. Correctness never rests on the bell.
* busy:    begins when looks find more than ``BUSY_FINDS_PER_S`` transactions a second while writers
           wait for each other's ring, or more than ``SWAMPED_FINDS_PER_S`` in any case. It lasts
           while most looks find something. No daemon arms the bell; each polls, after a pause of
           1 to 2 ms: as long as its look took, so that looking costs half of the time at most, and
           until the next transaction is expected, so that most polls find one. A daemon that gets
           busy silences the bell, or writers would wait for each other until it has run out.
           A look sees the rows of all webhooks, so an idle daemon and a busy one conclude the same
           without talking. Where they do not, changes are still noticed: silencing wakes those
           that sleep, and they arm it again.
* falling asleep: after arming, writers may be open that saw the bell unarmed. The daemon takes a
           transaction id and looks until no older one is running; behind a long writer, at
           growing intervals, and when the bell rings.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum

BUSY_FINDS_PER_S = 30  # transactions found per second above which none sleeps if writers would wait
SWAMPED_FINDS_PER_S = 300  # ... and above which no daemon sleeps in any case
# Writers wait for each other from this many on that wait for NOTIFY's lock: the average of looks.
# Transactions that are open would not do: one that lasts waits for no ring, and may be anywhere.
CROWDED_WRITERS = 1.0
CROWD_OVER_LOOKS = 4  # looks over which that is averaged
CROWD_LIMIT_WRITERS = 10  # a crowd that is gone is to be forgotten within seconds
# A busy daemon stays busy while a larger share of its looks finds something, however few they are.
FULL_SHARE_OF_LOOKS = 0.5
FULL_OVER_LOOKS = 16  # looks over which that is averaged
# Polls, in whole milliseconds: the event loop rounds, and half of one is no pause at all.
BUSY_POLL_S = 0.002
QUICK_POLL_S = 0.001
SLOW_POLL_S = 1.0
ARMED_S = 3.0  # look.sql arms for as long
# With less left of ARMED_S than this the bell counts as having been silent in between.
REARM_MARGIN_S = 0.5
GLANCE_WITHIN_S = 0.75  # after the look that armed it the bell may be left alone
DEAF_POLL_S = 0.1  # the longest interval where the bell cannot be used


class Mode(StrEnum):
    """What the daemon is doing between looks, for logs and metrics."""

    POLLING = "polling"
    SETTLING = "falling asleep"
    SLEEPING = "sleeping"
    DEAF = "bell off"


@dataclass(frozen=True, slots=True)
class Wait:
    """What to do until the next look.

    seconds: at most.
    listen:  wake up when the bell rings.
    """

    seconds: float
    listen: bool


@dataclass(slots=True)
class Doorbell:
    """The rule for one daemon; all times are monotonic seconds."""

    usable: bool = True
    mode: Mode = Mode.POLLING
    _armed_at: float | None = None
    _guard_xid: int | None = None
    _interval: float = BUSY_POLL_S
    _finds: deque[float] = field(default_factory=lambda: deque(maxlen=SWAMPED_FINDS_PER_S + 1))
    _crowd: float = 0.0
    _crowded: bool = False
    _full: float = 0.0
    _poll: float = BUSY_POLL_S

    def arms(self, now: float) -> bool | None:
        """What the next look is to do with the bell: arm it, silence it (False) or leave it."""
        if not self._busy(now):
            return True if self.usable else None
        # Once, and only what we armed ourselves: a daemon that is not busy may arm it again.
        return None if self._armed_at is None else False

    @property
    def relied_on(self) -> bool:
        """Whether it has to be armed."""
        return self._armed_at is not None

    def needs_xid(self) -> bool:
        """Whether a transaction id of our own is to be taken now, after the look that armed."""
        return self.mode is Mode.SETTLING and self._guard_xid is None

    def guard(self, xid: int) -> None:
        """The id taken: when all older ones have ended, no writer sees the bell unarmed."""
        self._guard_xid = xid

    def looked(
        self,
        sent: float,
        *,
        found: int,
        armed: bool,
        was_armed: bool,
        xmin: int,
        waiting: int | None = None,
        took: float = BUSY_POLL_S,
    ) -> None:
        """A look has come back.

        sent:  when it was sent.  found: of how many transactions it saw rows that were new.
        armed: the bell is armed since.  was_armed: it had been before (it may have run out, or
        another daemon has silenced it).  xmin: of its snapshot.
        waiting: writers that waited for each other to ring; None: that was not asked.
        took: seconds until it was answered.
        """
        if waiting is not None:
            self._crowd += (min(waiting, CROWD_LIMIT_WRITERS) - self._crowd) / CROWD_OVER_LOOKS
        self._count(sent, found, took)
        if not armed:
            self._armed_at = self._guard_xid = None
            self.mode = Mode.POLLING if self.usable and self._busy(sent) else Mode.DEAF
            self._interval = BUSY_POLL_S if found else min(self._interval * 1.5, DEAF_POLL_S)
            return
        lapsed = (
            not was_armed
            or self._armed_at is None
            or sent - self._armed_at > ARMED_S - REARM_MARGIN_S
        )
        self._armed_at = sent
        if lapsed:
            self.mode, self._guard_xid, self._interval = Mode.SETTLING, None, BUSY_POLL_S
        else:
            self._settle(xmin)

    def may_glance(self, now: float) -> bool:
        """Whether the next look may leave the bell alone, and ask for new rows only."""
        if self._armed_at is None:
            return self.mode is Mode.DEAF or self._busy(now)
        fresh = now - self._armed_at < GLANCE_WITHIN_S
        return fresh and self._guard_xid is not None and not self._busy(now)

    def glanced(self, sent: float, *, found: int, xmin: int, took: float = BUSY_POLL_S) -> None:
        """A look has come back that left the bell alone; as for ``looked``."""
        self._count(sent, found, took)
        if self._armed_at is None:
            self._interval = BUSY_POLL_S if found else min(self._interval * 1.5, DEAF_POLL_S)
        else:
            self._settle(xmin)

    def _settle(self, xmin: int) -> None:
        """Armed ever since the last look, too."""
        if self.mode is Mode.SETTLING and self._guard_xid is not None:
            if xmin >= self._guard_xid:
                self.mode = Mode.SLEEPING
            else:
                self._interval = min(self._interval * 1.5, SLOW_POLL_S)

    def _count(self, sent: float, found: int, took: float) -> None:
        self._full += (bool(found) - self._full) / FULL_OVER_LOOKS
        if found:
            # Transactions, not looks: the slower a daemon looks, the more wait for each other.
            self._finds.extend([sent] * min(found, SWAMPED_FINDS_PER_S + 1))
            # Once the bell is silent no writer waits, and the crowd thins out: it is asked for
            # again only when the load has gone down. Armed under load, writers would wait again.
            self._crowded = self._many(sent) and (self._crowded or self._crowd >= CROWDED_WRITERS)
        finds = self._finds
        apart = (sent - finds[0]) / len(finds) if finds else BUSY_POLL_S
        self._poll = min(max(took, apart, QUICK_POLL_S), BUSY_POLL_S)

    def wait(self) -> Wait:
        """What to do until the next look."""
        if self.mode is Mode.SLEEPING:
            return Wait(SLOW_POLL_S, listen=True)
        if self.mode is Mode.SETTLING:
            return Wait(self._interval if self._guard_xid is not None else 0.0, listen=True)
        return Wait(self._poll if self.mode is Mode.POLLING else self._interval, listen=False)

    def _busy(self, now: float) -> bool:
        return (self._crowded and self._many(now)) or self._more_than(SWAMPED_FINDS_PER_S, now)

    def _many(self, now: float) -> bool:
        # Who is overloaded looks seldom, and finds something each time. Arming the bell then would
        # make it worse for all.
        swamped = self._crowded and self._armed_at is None and self._full > FULL_SHARE_OF_LOOKS
        return swamped or self._more_than(BUSY_FINDS_PER_S, now)

    def _more_than(self, number: int, now: float) -> bool:
        finds = self._finds
        return len(finds) > number and now - finds[-number - 1] < 1.0
