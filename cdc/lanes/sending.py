"""What may be sent now, and when next: cap, ramp, rate, slow-down, breaker."""

from __future__ import annotations

from typing import NamedTuple

from cdc.lanes.breaker import Breaker, BreakerState
from cdc.lanes.decision import Transition
from cdc.lanes.order import ResourceOrder
from cdc.lanes.rate_limit import RateLimit, SlowDown
from cdc.lanes.retry_rows import Retries
from cdc.lanes.rules import LaneRules
from cdc.model import Delivery

# A probe waits up to this long for a retry row that is due (or will be within DUE_SOON_S) to be
# loaded: probing with ever new rows of the queue would move them all to the retry table.
PROBE_WAITS_S = 1.0
DUE_SOON_S = 0.25


class Limits(NamedTuple):
    """What a lane has learned of its receiver, apart from its deliveries."""

    breaker: Breaker
    rate_limit: RateLimit
    slow: SlowDown


class Sending:
    """Starts the ready heads of a lane's lines as far as its limits allow."""

    __slots__ = ("_order", "_rate_limit", "_retries", "_rules", "breaker", "slow")

    def __init__(
        self, rules: LaneRules, order: ResourceOrder, retries: Retries, limits: Limits | None
    ) -> None:
        self._order = order
        self._retries = retries
        self.breaker, self._rate_limit, self.slow = limits or Limits(
            Breaker(rules), RateLimit(rules.rate), SlowDown()
        )
        self.reconfigure(rules)

    def limits(self, now: float) -> Limits | None:
        """For a lane that takes this one's place; None where they hold nothing back."""
        if self.breaker.calm and self.slow.until <= now and self._rate_limit.at <= now:
            return None
        return Limits(self.breaker, self._rate_limit, self.slow)

    def reconfigure(self, rules: LaneRules) -> None:
        self._rules = rules
        self._rate_limit.change(rules.rate)
        self.breaker.reconfigure(rules)

    def renew(self) -> None:
        """It is another endpoint: only the rate limit goes on."""
        self._order.outdate()
        self.breaker.renew()
        self.slow.forgive()

    def success(self) -> Transition | None:
        self.slow.success()
        return self.breaker.success()

    def start(self, now: float) -> list[Delivery]:
        order, rate_limit = self._order, self._rate_limit
        if not order.waiting or now < self.slow.until:
            return []
        if self.breaker.state is not BreakerState.CLOSED:
            return self._start_probe(now)
        started: list[Delivery] = []
        paced = self._rules.rate is not None
        capacity = self.breaker.capacity(self._rules.cap) - order.flying
        while capacity > 0:
            if paced and now < rate_limit.at:
                break
            held = order.take()
            if held is None:
                break
            if paced:
                rate_limit.spend(now)
            held.started = now
            started.append(held.delivery)
            capacity -= 1
        return started

    def wake_at(self, now: float) -> float | None:
        order, breaker = self._order, self.breaker
        if not order.waiting or not order.is_ready():
            return None
        at = max(now, self.slow.until)
        if self._rules.rate is not None:
            at = max(at, self._rate_limit.at)
        if breaker.state is BreakerState.CLOSED:
            return at if order.flying < breaker.capacity(self._rules.cap) else None
        if breaker.state is BreakerState.PROBING or order.flying >= self._rules.cap:
            return None
        at = max(at, breaker.probe_at)
        if self._expects_due(at):
            at = max(at, breaker.probe_at + PROBE_WAITS_S)
        return at

    def _start_probe(self, now: float) -> list[Delivery]:
        order, breaker = self._order, self.breaker
        if breaker.state is BreakerState.PROBING or order.flying >= self._rules.cap:
            return []
        if now < breaker.probe_at or (self._rules.rate is not None and now < self._rate_limit.at):
            return []
        if now < breaker.probe_at + PROBE_WAITS_S and self._expects_due(now):
            return []
        held = order.take_beyond(breaker.skip)
        if held is None:
            return []
        self._rate_limit.spend(now)
        breaker.start_probe(held)
        held.started = now
        return [held.delivery]

    def _expects_due(self, now: float) -> bool:
        """A due row is about to be loaded."""
        if self._retries.plan is not None:
            return True
        due = self._retries.due_at(self._rules.due_limit)
        return due is not None and due <= now + DUE_SOON_S
