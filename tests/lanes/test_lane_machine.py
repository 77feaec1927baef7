"""Anything in any order: nothing lost, nothing out of order, nothing too fast, and it ends."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from cdc.lanes import LaneRules
from cdc.model import Answer
from tests.support.examples import TIMES

from .made import outcome
from .world import World

KEYS = st.sampled_from(["a", "b", "c", "d"])
ACTIONS = st.sampled_from(["created", "modified", "modified", "deleted"])
BAD_ANSWERS = [*[Answer.FAILURE] * 8, Answer.BUSY, Answer.SLOW, Answer.GONE]
ANSWERS = st.sampled_from([*[Answer.SUCCESS] * 8, *BAD_ANSWERS])
RATES = st.sampled_from([None, None, 3.0, 200.0])
CAPS = st.integers(1, 4)
PICK = st.integers(0, 99)


class LaneMachine(RuleBasedStateMachine):
    world: World

    @initialize(
        window=st.integers(1, 8),
        cap=CAPS,
        rate=RATES,
        schedule=st.sampled_from([(), (5.0,), (5.0, 30.0)]),
        failures=st.sampled_from([2, 4, 50]),
        capacity=st.sampled_from([1000, 1000, 6, 1]),
    )
    def begin(
        self,
        window: int,
        cap: int,
        rate: float | None,
        schedule: tuple[float, ...],
        failures: int,
        capacity: int,
    ) -> None:
        rules = LaneRules(
            window=window, cap=cap, rate=rate, schedule=schedule, breaker_failures=failures
        )
        self.world = World(rules, seed=1, capacity=capacity)

    # -- the suite --------------------------------------------------------------------------------

    @rule(pick=PICK, key=KEYS, action=ACTIONS)
    def write(self, pick: int, key: str, action: str) -> None:
        xids = [*self.world.open, None]
        self.world.write(xids[pick % len(xids)], key, action)

    @rule(keys=st.lists(KEYS, min_size=1, max_size=12))
    def write_many(self, keys: list[str]) -> None:
        for key in keys:
            self.world.write(None, key, "modified")
            self.world.end(max(self.world.open), commit=True)

    @precondition(lambda self: self.world.open)
    @rule(pick=PICK, commit=st.sampled_from([True, True, True, False]))
    def end(self, pick: int, commit: bool) -> None:
        self.world.end(list(self.world.open)[pick % len(self.world.open)], commit)

    # -- the daemon and the database --------------------------------------------------------------

    @rule(steps=st.sets(st.sampled_from(["look", "plan", "run", "end"])), lost=PICK)
    def queue_side(self, steps: set[str], lost: int) -> None:
        world = self.world
        if "look" in steps:
            world.look()
        if "plan" in steps:
            world.plan_fetch()
        if "run" in steps:
            world.run_fetch()
        if "end" in steps:
            world.end_fetch(lost=lost > 90)

    @rule(steps=st.sets(st.sampled_from(["plan", "run", "end"])))
    def retry_side(self, steps: set[str]) -> None:
        world = self.world
        if "plan" in steps:
            world.plan_due()
        if "run" in steps:
            world.run_due()
        if "end" in steps:
            world.end_due()

    @rule()
    def tick(self) -> None:
        """All that a daemon does at once when nothing is slow."""
        self.queue_side({"look", "plan", "run", "end"}, 0)
        self.retry_side({"plan", "run", "end"})
        self.world.start()

    @rule(seed=st.integers(0, 999), turns=st.integers(1, 30), bad=st.sampled_from([0.0, 0.2, 0.7]))
    def busy_spell(self, seed: int, turns: int, bad: float) -> None:
        """Many small steps of writers, daemon and database: one by one they would not lead far."""
        world, random = self.world, Random(seed)
        steps = [
            *(world.look, world.plan_fetch, world.run_fetch, world.end_fetch),
            *(world.plan_due, world.run_due, world.end_due),
            *(world.start, world.start, world.commit, world.confirm, self.advance_to_wake),
        ]
        rare = [world.replay, world.replay, world.pause, world.resume, world.drop, self.abandon_one]
        rare += [world.hand_over, world.renew]
        for _ in range(turns * 5):
            random.choice(steps)()
            if random.random() < 0.05:
                random.choice(rare)()
            if random.random() < 0.15:
                self.write(
                    random.randrange(9),
                    random.choice("abcd"),
                    random.choice(["created", "modified", "deleted"]),
                )
            if world.open and random.random() < 0.15:
                self.end(random.randrange(9), commit=random.random() < 0.8)
            if world.flying and random.random() < 0.4:
                answer = random.choice(BAD_ANSWERS) if random.random() < bad else Answer.SUCCESS
                self.finish(random.randrange(99), answer, random.choice([None, None, 7.0]))

    @rule()
    def start(self) -> None:
        self.world.start()

    @precondition(lambda self: self.world.flying)
    @rule(pick=PICK, answer=ANSWERS, asked=st.sampled_from([None, None, 0.0, 7.0]))
    def finish(self, pick: int, answer: Answer, asked: float | None) -> None:
        rows = list(self.world.flying.values())
        if answer is Answer.SUCCESS:
            asked = None
        self.world.finish(
            rows[pick % len(rows)], outcome(answer, asked, answered=asked is not None or pick > 30)
        )

    @precondition(lambda self: self.world.flying)
    @rule(bad=st.booleans())
    def finish_all(self, bad: bool) -> None:
        for row in list(self.world.flying.values()):
            self.world.finish(row, outcome(Answer.FAILURE if bad else Answer.SUCCESS))

    @rule()
    def abandon_one(self) -> None:
        for row in list(self.world.flying.values())[-1:]:
            self.world.abandon(row)

    @precondition(lambda self: self.world.moves)
    @rule(commits=st.integers(0, 9), confirms=st.integers(0, 9))
    def settle(self, commits: int, confirms: int) -> None:
        for _ in range(commits):
            self.world.commit()
        for _ in range(confirms):
            self.world.confirm()

    @rule(seconds=st.sampled_from([0.001, 0.3, 1.0, 5.0, 40.0]))
    def advance(self, seconds: float) -> None:
        self.world.now += seconds

    @rule()
    def advance_to_wake(self) -> None:
        times = (self.world.lane.wake_at(self.world.now), self.world.lane.due_at())
        self.world.now = max([self.world.now, *(at for at in times if at is not None)])

    # -- people, and accidents --------------------------------------------------------------------

    @rule(resume=st.booleans(), drop=st.booleans())
    def pause(self, resume: bool, drop: bool) -> None:
        if resume:
            self.world.resume()
        else:
            self.world.pause()
        if drop:
            self.world.drop()

    @precondition(lambda self: self.world.paused)
    @rule()
    def resume(self) -> None:
        self.world.resume()

    @rule()
    def renew(self) -> None:
        self.world.renew()

    @rule(cap=CAPS, rate=RATES)
    def reconfigure(self, cap: int, rate: float | None) -> None:
        self.world.reconfigure(cap, rate)

    @precondition(lambda self: self.world.dead)
    @rule()
    def replay(self) -> None:
        self.world.replay()

    @rule()
    def crash(self) -> None:
        self.world.take_over()

    @rule()
    def hand_over(self) -> None:
        self.world.hand_over()

    # -- always -----------------------------------------------------------------------------------

    @invariant()
    def holds(self) -> None:
        if hasattr(self, "world"):
            self.world.check()

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.finish_everything()


TestLane: Any = LaneMachine.TestCase
# In `make long` some 40 s of computing.
TestLane.pytestmark = [pytest.mark.timeout(600)]
TestLane.settings = settings(max_examples=40 * TIMES, stateful_step_count=50, database=None)
