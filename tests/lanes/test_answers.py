"""The table of answers (docs/receiver.md, "Answers"), the budget, and delays."""

from __future__ import annotations

from random import Random

import pytest

from cdc.lanes import Dead, Delivered, Lane, LaneRules, Retry
from cdc.lanes.decision import PLAIN_SUCCESS
from cdc.model import Answer, Outcome

from .made import (
    ABORTED,
    BAD,
    BUSY,
    DOWN,
    GONE,
    OK,
    PLAIN,
    SLOW,
    delivery,
    feed,
    ids,
    lane,
    outcome,
)


def test_success_is_delivered_and_nothing_else() -> None:
    a = lane()
    feed(a, [delivery(1)])
    decision = a.finish(a.start(0.0)[0], OK, 0.0)
    assert decision is PLAIN_SUCCESS
    assert decision.settlement == Delivered()


@pytest.mark.parametrize("bad", [BAD, DOWN, SLOW])
def test_failures_use_the_budget(bad: Outcome) -> None:
    a = lane()
    feed(a, [delivery(1, attempts=2)])
    decision = a.finish(a.start(0.0)[0], bad, 0.0)
    assert decision.settlement == Retry(1800.0, 3)


def test_the_whole_schedule_then_dead() -> None:
    delays = []
    for attempts in range(20):
        a = lane()
        feed(a, [delivery(1, attempts=attempts)])
        settlement = a.finish(a.start(0.0)[0], BAD, 0.0).settlement
        if isinstance(settlement, Dead):
            assert settlement.attempts == attempts + 1
            break
        assert isinstance(settlement, Retry)
        delays.append(settlement.due_in)
    hours = 3600.0
    assert delays == [
        5.0,
        300.0,
        1800.0,
        2 * hours,
        5 * hours,
        10 * hours,
        14 * hours,
        20 * hours,
        24 * hours,
    ]


@pytest.mark.parametrize("attempts", [0, 5])
def test_an_aborted_delivery_is_dead_at_once(attempts: int) -> None:
    a = lane()
    feed(a, [delivery(1, "x", attempts=attempts), delivery(2, "x")])
    decision = a.finish(a.start(0.0)[0], ABORTED, 0.0)
    assert decision.settlement == Dead(attempts + 1)
    assert not decision.suspend
    assert ids(a.start(0.0)) == [2]


def test_an_aborted_delivery_is_a_sign_of_life() -> None:
    """The receiver has answered what it means: the breaker closes, and no failure is counted."""
    a = lane(LaneRules(breaker_failures=1, first_probe=1.0))
    feed(a, [delivery(1, "x")])
    a.finish(a.start(0.0)[0], BAD, 0.0)
    feed(a, [delivery(2, "y")])
    [probe] = a.start(2.0)
    decision = a.finish(probe, ABORTED, 2.0)
    assert isinstance(decision.settlement, Dead)
    assert decision.transition is not None
    assert not decision.transition.opened
    assert (a.failures, a.failing_for(3.0)) == (0, 0.0)


def test_an_answer_of_the_old_endpoint_aborts_nothing() -> None:
    a = lane()
    feed(a, [delivery(1)])
    [sent] = a.start(0.0)
    a.renew()
    assert a.finish(sent, ABORTED, 0.0).settlement == Retry(0.0, 0)


def test_a_dead_delivery_lets_the_next_of_its_resource_go() -> None:
    a = lane(LaneRules(schedule=()))
    feed(a, [delivery(1, "x"), delivery(2, "x")])
    decision = a.finish(a.start(0.0)[0], BAD, 0.0)
    assert decision.settlement == Dead(1)
    assert decision.park == ()
    assert ids(a.start(0.0)) == [2]


def test_jitter_is_within_its_share_and_not_always_the_same() -> None:
    a = Lane(1, LaneRules(jitter=0.2, breaker_failures=1000, cap=100), Random(7))
    feed(a, [delivery(id) for id in range(1, 101)])
    dues = set()
    for row in a.start(0.0):
        settlement = a.finish(row, BAD, 0.0).settlement
        assert isinstance(settlement, Retry)
        assert 4.0 <= settlement.due_in <= 6.0
        dues.add(settlement.due_in)
    assert len(dues) > 50
    assert min(dues) < 4.5
    assert max(dues) > 5.5


@pytest.mark.parametrize(
    ("answer", "asked", "due_in"),
    [
        (Answer.FAILURE, 3.0, 5.0),
        (Answer.FAILURE, 30.0, 30.0),
        (Answer.FAILURE, 1e9, 3600.0),
        (Answer.FAILURE, -3.0, 5.0),
        (Answer.SLOW, 3.0, 5.0),
        (Answer.SLOW, 30.0, 30.0),
        (Answer.BUSY, 3.0, 3.0),
        (Answer.BUSY, 1e9, 3600.0),
        (Answer.BUSY, 0.0, 1.0),
    ],
)
def test_retry_after(answer: Answer, asked: float, due_in: float) -> None:
    a = lane()
    feed(a, [delivery(1)])
    settlement = a.finish(a.start(0.0)[0], outcome(answer, asked), 0.0).settlement
    assert settlement == Retry(due_in, 0 if answer is Answer.BUSY else 1)


def test_busy_uses_no_budget_even_at_its_end() -> None:
    a = lane()
    feed(a, [delivery(1, attempts=9)])
    assert a.finish(a.start(0.0)[0], BUSY, 0.0).settlement == Retry(1.0, 9)


@pytest.mark.parametrize("slowing", [BUSY, SLOW])
def test_slowing_answers_double_the_wait_up_to_a_minute(slowing: Outcome) -> None:
    a = lane()
    now = 100.0
    waits = []
    for id in range(1, 10):
        feed(a, [delivery(id)])
        (row,) = a.start(now)
        a.finish(row, slowing, now)
        feed(a, [delivery(id + 1000)])
        at = a.wake_at(now)
        assert at is not None
        assert a.start(at - 0.01) == []
        (other,) = a.start(at)
        a.abandon(other)
        a.drop()
        waits.append(at - now)
        now = at
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_repeated_retry_after_of_a_second_leads_to_longer_pauses() -> None:
    # It uses no budget: at ten a second there would be no end of attempts, nor of their log.
    a = lane()
    feed(a, [delivery(id) for id in range(1, 12)])
    waits, started, now = [], [], 0.0
    for _ in range(9):
        rows = a.start(now)
        started.append(len(rows))
        for row in rows:
            a.finish(row, outcome(Answer.BUSY, 1.0), now + 0.5)
            a.settled(row)
        now += 0.5
        feed(a, [delivery(100 + int(now) * 20 + n) for n in range(11)])
        at = a.wake_at(now)
        assert at is not None
        waits.append(at - now)
        now = at
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert started == [10, 1, 1, 1, 1, 1, 1, 1, 1], "and one goes first"


def test_after_slowing_down_each_success_lets_one_more_go() -> None:
    a = lane()
    feed(a, [delivery(id) for id in range(1, 40)])
    rows = a.start(0.0)
    for row in rows:
        a.finish(row, BUSY, 0.5)
    now = 1.5
    rounds = []
    for _ in range(4):
        rows = a.start(now)
        rounds.append(len(rows))
        for row in rows:
            a.finish(row, OK, now)
    assert rounds == [1, 2, 4, 8]


def test_answers_to_requests_in_flight_do_not_double_the_wait() -> None:
    a = lane()
    feed(a, [delivery(id) for id in range(1, 12)])
    for row in a.start(0.0):
        a.finish(row, BUSY, 0.5)
    assert a.wake_at(0.5) == 1.5


def test_success_resets_the_doubling() -> None:
    a = lane()
    now = 0.0
    for answer, wait in ((BUSY, 1.0), (BUSY, 2.0), (OK, 0.0), (BUSY, 1.0)):
        feed(a, [delivery(int(now) + 1), delivery(int(now) + 1000)])
        row, *others = a.start(now)
        a.finish(row, answer, now)
        for other in others:
            a.abandon(other)
        a.drop()
        feed(a, [delivery(9000)])
        assert a.wake_at(now) == now + wait
        now += wait + 1
        for row in a.start(now):
            a.abandon(row)
        a.drop()


def test_retry_after_slows_the_lane_too() -> None:
    a = lane()
    feed(a, [delivery(1), delivery(2)])
    one, two = a.start(0.0)
    a.finish(one, outcome(Answer.SLOW, 20.0), 0.0)
    a.finish(two, OK, 0.0)
    feed(a, [delivery(3)])
    assert a.wake_at(0.0) == 20.0, "a success that was in flight does not shorten it"
    assert a.start(19.9) == []
    assert ids(a.start(20.0)) == [3]


def test_a_failure_with_retry_after_does_not_slow_the_lane() -> None:
    a = lane()
    feed(a, [delivery(1)])
    a.finish(a.start(0.0)[0], outcome(Answer.FAILURE, 20.0), 0.0)
    feed(a, [delivery(2)])
    assert ids(a.start(0.0)) == [2]


def test_gone_suspends_and_keeps_the_delivery() -> None:
    a = lane()
    feed(a, [delivery(1, "x", attempts=3), delivery(2, "x"), delivery(3), delivery(4)])
    one, *_ = a.start(0.0)
    decision = a.finish(one, GONE, 0.0)
    assert decision.suspend
    assert decision.settlement == Retry(0.0, 3)
    assert ids(decision.park) == [2]
    assert a.paused
    assert a.start(1.0) == []
    a.settled(one)
    a.resume()
    assert a.plan_due(1.0) is not None


def test_how_long_it_has_been_failing() -> None:
    a = lane(PLAIN)
    feed(a, [delivery(id) for id in range(1, 5)])
    one, two, three, four = a.start(0.0)
    assert a.failing_for(5.0) == 0.0
    a.finish(one, BUSY, 10.0)
    a.finish(two, BAD, 12.0)
    assert a.failing_for(20.0) == 10.0
    assert a.failures == 1
    a.finish(three, OK, 21.0)
    assert a.failing_for(22.0) == 0.0
    assert a.failures == 0
    a.finish(four, SLOW, 23.0)
    assert a.failures == 0
    assert a.failing_for(24.0) == 1.0
    a.pause()
    a.resume()
    assert a.failing_for(25.0) == 0.0, "counted from 0 after a resume"
