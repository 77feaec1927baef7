"""What a lane may do with its endpoint, as a model beside it: breaker, ramp, slow-down, back-off.

Written from the rules (docs/receiver.md, "Answers"), with times of its own, so that
the state machine holds every start and every decision of the lane against it.
"""

from __future__ import annotations

from collections.abc import Iterable

from cdc.lanes import Dead, Decision, Delivered, LaneRules, Retry
from cdc.model import Answer, Delivery, Outcome

EPSILON = 1e-6
LONG_AGO = 1e6


class EndpointModel:
    """One lane's endpoint. ``flying`` are the ids in flight, without the one that is asked about.

    streak:     failures since the last success.
    slow_until: nothing may be started before.
    """

    def __init__(self, rules: LaneRules) -> None:
        self.rules = rules
        self.streak = 0
        self.slow_until = 0.0
        self._opened_at: float | None = None
        self._before_open: set[int] = set()  # in flight when the breaker opened
        self._probes: list[float] = []
        self._probing: int | None = None
        self._as_probe: set[int] = set()  # in flight, started as a probe
        self._first_wait = rules.first_probe
        self._ramp = 0  # cap in force after the breaker closed; 0: none
        self._outdated: set[int] = set()  # in flight when the endpoint became another one

    def starts(self, id: int, flying: Iterable[int], now: float) -> None:
        """Checks that it may be started, and notes it."""
        flying = set(flying)
        assert now >= self.slow_until, "asked to slow down"
        assert len(flying) < self.rules.cap, "above the cap"
        if self._opened_at is None:
            assert not self._ramp or len(flying) < self._ramp, (
                "all at once after the breaker closed"
            )
            return
        last = self._probes[-1] if self._probes else self._opened_at
        wait = min(self._first_wait * 2 ** len(self._probes), self.rules.max_probe)
        assert now >= last + wait - EPSILON, "probes too early"
        assert flying <= self._before_open, "two probes"
        self._probes.append(now)
        self._probing = id
        self._as_probe.add(id)

    def ends(
        self,
        row: Delivery,
        outcome: Outcome,
        decision: Decision,
        flying: Iterable[int],
        now: float,
    ) -> None:
        """Checks what was decided about an attempt, and notes how it ended."""
        self._check_settlement(row, outcome, decision)
        self._as_probe.discard(row.id)
        if row.id in self._outdated:
            self._outdated.remove(row.id)
            assert (decision.transition, decision.slowed) == (None, False)
            return
        probe = self._probing == row.id
        if probe:
            self._probing = None
        if outcome.answer is Answer.SUCCESS:
            assert (self._opened_at is not None) is (decision.transition is not None)
            self._success()
        elif outcome.answer is Answer.FAILURE or (probe and outcome.answer is not Answer.GONE):
            self.streak += 1
            opens = self.streak >= self.rules.breaker_failures and self._opened_at is None
            assert opens is (decision.transition is not None)
            if opens:
                self._opened_at = now
                self._before_open = set(flying)
        if outcome.answer in (Answer.BUSY, Answer.SLOW):
            self.slow_until = max(self.slow_until, now + max(self._asked(outcome), 1.0))
            if self._opened_at is None:
                self._ramp = 1

    def abandoned(self, id: int) -> None:
        """An attempt was given up."""
        self._as_probe.discard(id)
        self._outdated.discard(id)
        if self._probing == id:
            self._probing = None
            del self._probes[-1:]  # empty after a resume, which begins again

    def resumed(self, now: float) -> None:
        """A person has mended the endpoint: probing may begin at once."""
        self.slow_until = 0.0
        if self._opened_at is not None:
            self._opened_at, self._probes = now - LONG_AGO, []

    def renewed(self, flying: Iterable[int]) -> None:
        """The endpoint is another one."""
        self._success()
        self._ramp, self.slow_until = 0, 0.0
        self._outdated |= set(flying)

    def taken_over(self, before: EndpointModel, now: float) -> None:
        """Another owner goes on with what the last one knew: an open breaker is probed at once, and
        then as after the first time."""
        self.streak, self.slow_until = before.streak, before.slow_until
        if self.streak >= self.rules.breaker_failures:
            self._opened_at, self._first_wait = now - LONG_AGO, self.rules.first_probe / 2

    def _success(self) -> None:
        if self._opened_at is not None:
            self._ramp = 1
        elif self._ramp:
            # One more for each success, until the cap is reached.
            self._ramp = self._ramp + 1 if self._ramp < self.rules.cap else 0
        self.streak, self._opened_at, self._probes, self._probing = 0, None, [], None
        self._first_wait = self.rules.first_probe

    def _asked(self, outcome: Outcome) -> float:
        return min(outcome.retry_after or 0.0, self.rules.retry_after_cap)

    def _check_settlement(self, row: Delivery, outcome: Outcome, decision: Decision) -> None:
        """The table of answers: who uses up the budget, and when the next attempt is due."""
        settlement, rules, asked = decision.settlement, self.rules, self._asked(outcome)
        if outcome.answer is Answer.SUCCESS:
            assert settlement == Delivered()
            return
        if row.id in self._outdated:
            assert settlement == Retry(0.0, row.attempts), "of another endpoint: again at once"
            assert not decision.suspend
            return
        if outcome.answer is Answer.GONE:
            assert (settlement, decision.suspend) == (Retry(0.0, row.attempts), True)
            return
        as_probe = row.id in self._as_probe
        if outcome.answer is Answer.BUSY or as_probe:
            assert isinstance(settlement, Retry)
            assert settlement.attempts == row.attempts, "no budget is used"
            least = max(rules.first_probe if as_probe else 1.0, asked)
            assert least <= settlement.due_in <= max(rules.max_probe, asked)
            return
        attempts = row.attempts + 1
        if attempts > len(rules.schedule):
            assert settlement == Dead(attempts)
            return
        assert isinstance(settlement, Retry)
        assert settlement.attempts == attempts
        delay = rules.schedule[attempts - 1]
        least = max(delay * (1 - rules.jitter), asked)
        assert least <= settlement.due_in <= max(delay * (1 + rules.jitter), asked)
