"""What an attempt that was no success means for its delivery and its lane: the table of
docs/receiver.md, "Answers"."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from cdc.lanes.breaker import Breaker
from cdc.lanes.decision import Transition
from cdc.lanes.order import Held
from cdc.lanes.rate_limit import SlowDown
from cdc.lanes.rules import LaneRules
from cdc.model import Answer, Outcome

# Seconds: requests that were in flight together move the end of a wait by less.
SLOWED_FROM_S = 0.5


class Verdict(NamedTuple):
    """due_in: seconds to the next attempt, None: there is none, the delivery is dead.

    attempts: tries that used up the budget, now.
    slowed:   the lane's wait has become longer.
    """

    due_in: float | None
    attempts: int
    transition: Transition | None = None
    slowed: bool = False


class RetryPolicy:
    """Applies the table to one lane's breaker and slow-down."""

    __slots__ = ("_breaker", "_random", "_slow", "rules")

    def __init__(self, rules: LaneRules, random: Random, breaker: Breaker, slow: SlowDown) -> None:
        self.rules = rules
        self._random = random
        self._breaker = breaker
        self._slow = slow

    def verdict(self, held: Held, outcome: Outcome, now: float) -> Verdict:
        answer, breaker, rules = outcome.answer, self._breaker, self.rules
        attempts = held.delivery.attempts
        if held.outdated:
            return Verdict(0.0, attempts)
        if answer is Answer.ABORTED:  # a sign of life, and final
            return Verdict(None, attempts + 1, breaker.success())
        breaker.failing(now)
        if answer is Answer.GONE:
            if breaker.probe is held:
                breaker.probe_lost()
            # Due at once: it is held because the webhook is suspended, not by a delay.
            return Verdict(0.0, attempts)
        asked = outcome.retry_after
        if asked is not None:
            asked = min(max(asked, 0.0), rules.retry_after_cap)
        wait = asked or 0.0
        slowing = answer is Answer.BUSY or answer is Answer.SLOW
        slowed = False
        if slowing:
            before = self._slow.until
            wait = self._slow.hit(held.started, asked, now)
            slowed = self._slow.until > before + SLOWED_FROM_S
            breaker.slowed()
        if breaker.probe is held:
            next_probe = breaker.probe_failed(outcome.status is not None, now)
            return Verdict(max(next_probe, wait), attempts, None, slowed)
        transition = None
        if not slowing:
            transition = breaker.failure(outcome.detail or outcome.error or "no detail", now)
        if held.probe:  # it was started as one; another success has closed the breaker meanwhile
            return Verdict(max(rules.first_probe, wait), attempts, transition, slowed)
        if answer is Answer.BUSY:
            return Verdict(wait, attempts, None, slowed)
        delay = self._delay(attempts + 1)
        if delay is not None and asked is not None:
            delay = max(delay, asked)
        return Verdict(delay, attempts + 1, transition, slowed)

    def _delay(self, attempts: int) -> float | None:
        """Seconds until the next attempt after ``attempts`` that used up the budget."""
        rules = self.rules
        if attempts > len(rules.schedule):
            return None
        # Jitter spreads what failed together.
        stretch = self._random.uniform(1 - rules.jitter, 1 + rules.jitter)
        return rules.schedule[attempts - 1] * stretch
