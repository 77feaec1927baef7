"""How fast a lane may go: requests per second, and the wait after "slow down"."""

from __future__ import annotations

# What a daemon that wakes late may catch up with: 20 ms of the rate, never less than one request.
CATCH_UP_S = 0.02

SLOW_DOWN_FIRST_S = 1.0
SLOW_DOWN_LONGEST_S = 60.0


class RateLimit:
    """At most ``rate`` starts per second: the time of the next one is kept, nothing is counted.

    In any span of t seconds at most ``rate * t + max(1, rate * CATCH_UP_S)`` requests are started.
    """

    __slots__ = ("_late", "_step", "_turn")

    def __init__(self, rate: float | None) -> None:
        self._turn = 0.0  # when the next start would come if starts were spaced evenly
        self.change(rate)

    def change(self, rate: float | None) -> None:
        self._step = 0.0 if rate is None else 1.0 / rate
        self._late = 0.0 if rate is None else max(0.0, CATCH_UP_S - self._step)

    @property
    def at(self) -> float:
        """From when on the next request may be started."""
        return self._turn - self._late

    def spend(self, now: float) -> None:
        self._turn = max(self._turn, now) + self._step


class SlowDown:
    """After 429, 502, 503 and 504 a lane starts nothing for a while: 1 s, doubled each time up to
    60 s, until a success; longer, if the receiver asks for it.
    """

    __slots__ = ("_since", "_wait", "until")

    def __init__(self) -> None:
        self.until = 0.0
        self._wait = 0.0
        self._since = 0.0

    def hit(self, started: float, retry_after: float | None, now: float) -> float:
        """Returns the seconds to wait from ``now`` on. ``started``: when the attempt began."""
        # Answers to requests that were in flight when the lane slowed down say nothing new.
        if not self._wait or started >= self._since:
            self._wait = (
                min(self._wait * 2, SLOW_DOWN_LONGEST_S) if self._wait else SLOW_DOWN_FIRST_S
            )
            self._since = now
        # "Retry-After: 1", repeated, does not permit hammering: such a retry uses no budget, so
        # there would be no end to it, nor to the log of attempts.
        wait = max(self._wait, retry_after or 0.0)
        self.until = max(self.until, now + wait)
        return wait

    def restore(self, until: float) -> None:
        """Take over the wait that the last owner was in."""
        self.until = max(self.until, until)

    def success(self) -> None:
        """The next wait is the first again. The present one stands: the receiver asked for it."""
        self._wait = 0.0

    def forgive(self) -> None:
        self._wait = 0.0
        self.until = 0.0
