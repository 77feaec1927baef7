"""The breaker: a lane whose endpoint is down is held, and probed with one delivery at a time."""

from __future__ import annotations

from enum import StrEnum

from cdc.lanes.decision import Transition
from cdc.lanes.order import Held
from cdc.lanes.rules import LaneRules


class BreakerState(StrEnum):
    """closed: deliveries go; open: none goes; probing: one is in flight to see."""

    CLOSED = "closed"
    OPEN = "open"
    PROBING = "probing"


class Breaker:
    """Opens after a number of failures in a row, whichever resources they were of.

    failures:      failures since the last success.
    failing_since: the first answer other than success since the last success, None if there was
                   none.
    ramp:          cap in force after closing, or after the receiver has asked to slow down; one
                   higher with each success; 0: no ramp.
    probe:         the delivery that is in flight to see; there is one while probing.
    """

    __slots__ = (
        "_rules",
        "_wait",
        "failing_since",
        "failures",
        "probe",
        "probe_at",
        "ramp",
        "skip",
        "state",
    )

    def __init__(self, rules: LaneRules) -> None:
        self._rules = rules
        self._wait = rules.first_probe
        self.state: BreakerState = BreakerState.CLOSED
        self.failures = 0
        self.failing_since: float | None = None
        self.ramp = 0
        self.probe: Held | None = None
        self.probe_at = 0.0
        # Probes go to deliveries beyond this id first. While no answer comes, the same delivery
        # will do; but where an answer came it may be the delivery that is refused, and probing
        # with it for ever would hold up all the good ones.
        self.skip = -1

    def reconfigure(self, rules: LaneRules) -> None:
        self._rules = rules

    def renew(self) -> None:
        """It is another endpoint: as a new one."""
        self.success()
        self.state, self.probe, self.ramp = BreakerState.CLOSED, None, 0

    @property
    def calm(self) -> bool:
        """As a new one: nothing has failed since the last success."""
        return (
            self.state is BreakerState.CLOSED
            and not self.failures
            and self.failing_since is None
            and not self.ramp
        )

    def capacity(self, cap: int) -> int:
        """How many deliveries may be in flight while the breaker is closed."""
        return min(cap, self.ramp) if self.ramp else cap

    def success(self) -> Transition | None:
        """Any success is proof, whether it was the probe's or a late one's."""
        self.failures = 0
        self.failing_since = None
        if self.state is BreakerState.CLOSED:
            if self.ramp:
                # One more per success doubles the load with each round of answers.
                self.ramp = self.ramp + 1 if self.ramp < self._rules.cap else 0
            return None
        self.state = BreakerState.CLOSED
        self.probe = None
        self.ramp = 1
        self.skip = -1
        return Transition(opened=False, reason="a delivery succeeded")

    def slowed(self) -> None:
        """The receiver wants less: after the wait one goes first, and more with each success."""
        if self.state is BreakerState.CLOSED:
            self.ramp = 1

    def failing(self, now: float) -> None:
        """An answer other than success came."""
        if self.failing_since is None:
            self.failing_since = now

    def failure(self, reason: str, now: float) -> Transition | None:
        """A failure that was not the probe's."""
        self.failures += 1
        if self.state is not BreakerState.CLOSED or self.failures < self._rules.breaker_failures:
            return None
        self.state = BreakerState.OPEN
        self._wait = self._rules.first_probe
        self.probe_at = now + self._wait
        return Transition(
            opened=True, reason=f"{self.failures} failures in a row, the last one: {reason}"
        )

    def start_probe(self, held: Held) -> None:
        self.state = BreakerState.PROBING
        self.probe = held
        held.probe = True

    def probe_failed(self, answered: bool, now: float) -> float:
        """The probe did not succeed; returns the seconds to the next one."""
        self.failures += 1
        if answered and self.probe is not None:
            self.skip = self.probe.delivery.id
        self._wait = min(self._wait * 2, self._rules.max_probe)
        self.probe_at = now + self._wait
        self.probe_lost()
        return self._wait

    def probe_lost(self) -> None:
        """The probe ended without a result: the next one may go when it was due."""
        self.state = BreakerState.OPEN
        self.probe = None

    def restore(self, failures: int, failing_since: float | None) -> None:
        """Take over what another daemon knew; an open breaker is probed at once."""
        self.failures = failures
        self.failing_since = failing_since
        if failures >= self._rules.breaker_failures:
            self.state = BreakerState.OPEN
            self._wait = self._rules.first_probe / 2  # the first failed probe doubles it
            self.probe_at = 0.0

    def forgive(self) -> None:
        """The endpoint was mended: probe at once, and count the time of failing from now on."""
        self.failing_since = None
        self.probe_at = 0.0
