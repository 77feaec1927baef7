"""Cap, rate and the breaker."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cdc.lanes import BreakerState, Decision, Delivered, Kept, Lane, LaneRules, Retry, Transition
from cdc.lanes.rate_limit import CATCH_UP_S
from cdc.model import Answer, Outcome

from .made import (
    BAD,
    BUSY,
    DOWN,
    GONE,
    OK,
    PLAIN,
    SLOW,
    delivery,
    fail,
    feed,
    feed_due,
    ids,
    lane,
    outcome,
)


def open_lane(rules: LaneRules = PLAIN, rows: int = 20, bad: Outcome = BAD) -> Lane:
    """A lane whose breaker opened at 0.0; deliveries 1 to 5 failed and are confirmed."""
    a = lane(replace(rules, cap=5))
    feed(a, [delivery(id) for id in range(1, rows + 1)])
    started = a.start(0.0)
    for row in started:
        a.finish(row, bad, 0.0)
        a.settled(row)
    a.reconfigure(rules)
    assert a.breaker is BreakerState.OPEN
    return a


# -- cap and rate ---------------------------------------------------------------------------------


def test_never_more_than_the_cap() -> None:
    a = lane(LaneRules(cap=3))
    feed(a, [delivery(id) for id in range(1, 9)])
    started = a.start(0.0)
    assert ids(started) == [1, 2, 3]
    assert a.wake_at(0.0) is None
    a.finish(started[1], OK, 0.0)
    assert a.wake_at(0.0) == 0.0
    assert ids(a.start(0.0)) == [4]
    a.reconfigure(LaneRules(cap=5))
    assert ids(a.start(0.0)) == [5, 6]
    a.reconfigure(LaneRules(cap=1))
    a.finish(started[0], OK, 0.0)
    assert a.start(0.0) == []


@pytest.mark.parametrize("rate", [0.5, 7.0, 100.0, 1000.0])
def test_rate_is_kept_and_reached(rate: float) -> None:
    a = lane(LaneRules(rate=rate, cap=1000))
    feed(a, [delivery(id) for id in range(1, 301)])
    now = 1000.0
    times: list[float] = []
    while a.waiting:
        at = a.wake_at(now)
        assert at is not None
        now = at
        started = a.start(now)
        assert started, "woken for nothing"
        times += [now] * len(started)
        assert a.start(now) == []
        for row in started:
            a.finish(row, OK, now)
    assert (len(times) - 1) / rate == pytest.approx(times[-1] - times[0], abs=2 * CATCH_UP_S)
    for first, begin in enumerate(times):
        for last in range(first, len(times)):
            allowed = rate * (times[last] - begin) + max(1.0, rate * CATCH_UP_S)
            assert last - first + 1 <= allowed + 1e-6


def test_a_daemon_that_wakes_late_does_not_make_up_for_it() -> None:
    a = lane(LaneRules(rate=10.0))
    feed(a, [delivery(id) for id in range(1, 9)])
    assert ids(a.start(0.0)) == [1]
    assert ids(a.start(5.0)) == [2]
    a.reconfigure(LaneRules(rate=None))
    assert len(a.start(5.0)) == 6


# -- breaker --------------------------------------------------------------------------------------


def test_opens_after_failures_in_a_row() -> None:
    a = lane()
    feed(a, [delivery(id) for id in range(1, 11)])
    started = a.start(0.0)
    assert [d.transition for d in fail(a, started[:4], 0.0)] == [None] * 4
    decision = a.finish(started[4], BAD, 0.0)
    assert decision.transition == Transition(
        opened=True, reason="5 failures in a row, the last one: HTTP 500"
    )
    assert decision.settlement == Retry(5.0, 1)
    assert a.failures == 5
    late = a.finish(started[5], BAD, 0.0)
    assert late.transition is None
    assert late.settlement == Retry(5.0, 1), "not a probe: its own budget"
    assert a.breaker is BreakerState.OPEN


@pytest.mark.parametrize("other", [BUSY, SLOW, OK])
def test_only_failures_count_and_success_resets_the_count(other: Outcome) -> None:
    a = lane()
    feed(a, [delivery(id) for id in range(1, 11)])
    started = a.start(0.0)
    fail(a, started[:4], 0.0)
    a.finish(started[4], other, 0.0)
    assert a.failures == (0 if other is OK else 4)
    decision = a.finish(started[5], BAD, 0.0)
    assert a.breaker is (BreakerState.CLOSED if other is OK else BreakerState.OPEN)
    assert (decision.transition is None) is (other is OK)


def test_success_resets_the_count_after_a_resume_too() -> None:
    a = lane()
    feed(a, [delivery(id) for id in range(1, 11)])
    started = a.start(0.0)
    fail(a, started[:4], 0.0)
    a.pause()
    a.resume()
    a.finish(started[4], OK, 0.0)
    assert a.failures == 0


def test_probes_with_one_delivery_at_doubling_distances() -> None:
    a = open_lane(replace(PLAIN, schedule=(1e6,) * 3))
    now = 0.0
    waits: list[float] = []
    probed: list[int] = []
    for _ in range(9):
        at = a.wake_at(now)
        assert at is not None
        assert a.start(at - 0.001) == []
        (row,) = a.start(at)
        assert a.breaker is BreakerState.PROBING
        assert a.start(at + 99) == []
        assert a.wake_at(at) is None
        waits.append(at - now)
        probed.append(row.id)
        now = at
        settlement = a.finish(row, DOWN, now).settlement
        assert isinstance(settlement, Retry)
        assert settlement.attempts == row.attempts, "a probe uses no budget"
        assert settlement.due_in == min(60.0, 2.0 ** len(waits))
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert probed == list(range(6, 15))


def test_the_probe_waits_for_a_due_row_and_takes_it() -> None:
    a = open_lane(rows=6)
    (six,) = a.start(1.0)
    a.finish(six, DOWN, 1.0)
    a.settled(six)
    feed(a, [delivery(7)])
    assert a.due_at() == 3.0
    assert a.start(3.0) == []
    assert a.wake_at(3.0) == 4.0, "not for ever"
    plan = a.plan_due(3.0)
    assert plan is not None
    assert a.start(3.0) == []
    a.take_due(plan, [delivery(6, retrying=True)], 5.0)
    assert ids(a.start(3.0)) == [6]


def test_the_probe_goes_without_a_due_row_that_does_not_come() -> None:
    a = open_lane()
    a.noticed_due(0.0)
    assert a.start(1.0) == []
    assert ids(a.start(2.0)) == [6]


def test_an_answer_makes_the_next_probe_try_another_delivery() -> None:
    a = open_lane(replace(PLAIN, schedule=(1e6,)))
    probed: list[int] = []
    now = 0.0
    for _ in range(3):
        now += 100.0
        if plan := a.plan_due(now):
            rows = [delivery(id, retrying=True) for id in set(probed[-2:])]
            a.take_due(plan, rows, None)
        (row,) = a.start(now)
        probed.append(row.id)
        a.finish(row, BAD, now)
        a.settled(row)
    assert probed == [6, 7, 8], "a delivery that is refused does not hold up all the others"


def test_success_closes_with_a_ramp() -> None:
    a = open_lane(rows=50)
    (probe,) = a.start(1.0)
    decision = a.finish(probe, OK, 1.0)
    assert decision.transition == Transition(opened=False, reason="a delivery succeeded")
    assert a.breaker is BreakerState.CLOSED
    widths: list[int] = []
    flying = a.start(1.0)
    while flying and len(widths) < 6:
        widths.append(len(flying))
        for row in flying:
            a.finish(row, OK, 1.0)
        flying = a.start(1.0)
    assert widths == [1, 2, 4, 8, 10, 10]


def test_a_late_success_closes_too_and_the_probe_then_counts_little() -> None:
    a = lane(replace(PLAIN, cap=7))
    feed(a, [delivery(id) for id in range(1, 30)])
    *bad, late, other = a.start(0.0)
    fail(a, bad, 0.0)
    (probe,) = a.start(1.0)
    transition = a.finish(late, OK, 1.0).transition
    assert transition is not None
    assert not transition.opened
    assert a.finish(probe, BAD, 1.0).settlement == Retry(1.0, 0)
    assert a.breaker is BreakerState.CLOSED
    a.finish(other, OK, 1.0)


@pytest.mark.parametrize("answer", [Answer.BUSY, Answer.SLOW])
def test_a_probe_answered_with_slow_down_is_not_the_end(answer: Answer) -> None:
    a = open_lane()
    (probe,) = a.start(1.0)
    decision = a.finish(probe, outcome(answer, 30.0), 1.0)
    assert decision.settlement == Retry(30.0, 0)
    assert a.breaker is BreakerState.OPEN
    assert a.wake_at(1.0) == 31.0
    assert a.start(30.9) == []
    assert len(a.start(31.0)) == 1


def test_a_probe_that_is_gone_or_abandoned_does_not_stop_probing() -> None:
    a = open_lane()
    (probe,) = a.start(1.0)
    a.abandon(probe)
    assert a.start(1.0) == [probe]
    assert a.finish(probe, GONE, 1.0).suspend
    a.resume()
    assert len(a.start(1.0)) == 1


def test_the_probe_waits_for_the_cap_and_the_rate() -> None:
    a = lane(replace(PLAIN, cap=6, rate=0.5))
    feed(a, [delivery(id) for id in range(1, 30)])
    started = [row for second in range(0, 12, 2) for row in a.start(float(second))]
    fail(a, started[:5], 10.0)
    assert a.breaker is BreakerState.OPEN
    assert a.start(11.0) == []
    assert a.wake_at(11.0) == 12.0
    a.reconfigure(replace(PLAIN, cap=1, rate=0.5))
    assert a.start(12.0) == []
    assert a.wake_at(12.0) is None
    a.finish(started[5], DOWN, 12.0)
    assert len(a.start(12.0)) == 1


def test_resume_probes_at_once() -> None:
    a = open_lane()
    a.pause()
    a.resume()
    assert len(a.start(0.0)) == 1


@pytest.mark.parametrize("answer", [Answer.FAILURE, Answer.BUSY, Answer.SLOW, Answer.GONE])
def test_what_an_endpoint_before_answers_says_nothing_about_the_one_now(answer: Answer) -> None:
    a = open_lane(rows=8)
    (probe,) = a.start(1.0)
    a.renew()
    assert (a.breaker, a.failures, a.failing_for(9.0)) == (BreakerState.CLOSED, 0, 0.0)
    assert len(a.start(1.0)) == 2, "as many as there are"
    decision = a.finish(probe, outcome(answer, 60.0), 9.0)
    assert decision == Decision(Retry(0.0, probe.attempts), outdated=True)
    assert (a.paused, a.failures, a.failing_for(10.0)) == (False, 0, 0.0)


def test_what_was_kept_of_the_breaker_is_taken_over() -> None:
    a = lane()
    a.restore(Kept(7, 3600.0, 0.0), 100.0)
    assert a.failing_for(100.0) == 3600.0
    assert a.failures == 7
    feed(a, [delivery(1), delivery(2)])
    (probe,) = a.start(100.0)
    assert a.finish(probe, BAD, 100.0).settlement == Retry(1.0, 0)
    b = lane()
    b.restore(Kept(0, None, 0.0), 100.0)
    assert b.breaker is BreakerState.CLOSED
    assert b.failing_for(100.0) == 0.0


def test_what_the_receiver_asked_for_holds_for_the_next_owner_too() -> None:
    first = lane()
    feed(first, [delivery(1), delivery(2)])
    first.start(0.0)
    asked = outcome(Answer.BUSY, 60.0)
    decision = first.finish(delivery(1), asked, 10.0)
    assert decision.slowed
    assert not first.finish(delivery(2), asked, 10.1).slowed, "nothing that is not known already"
    kept = first.kept(30.0)
    assert kept[:2] == (0, 20.0)
    assert kept.slow_for == pytest.approx(40.1)
    second = lane()
    second.restore(kept, 1000.0)
    feed(second, [delivery(3)])
    assert second.start(1040.0) == []
    assert second.wake_at(1040.0) == pytest.approx(1040.1)
    assert second.failing_for(1040.0) == pytest.approx(60.0)
    assert len(second.start(1040.2)) == 1
    assert second.finish(delivery(3), OK, 1041.0).settlement == Delivered()
    assert second.kept(1041.0) == Kept(0, None, 0.0)


def test_poison_does_not_hold_the_good_for_ever() -> None:
    """Five deliveries that are always refused open the breaker; the good one still gets through."""
    a = open_lane(rows=5)
    feed(a, [delivery(100)])
    now, sent = 0.0, False
    refused: dict[int, int] = dict.fromkeys(range(1, 6), 1)
    while not sent:
        now += 60.0
        assert now < 3000, "the good one is held up"
        if plan := a.plan_due(now):
            loaded = [delivery(id, attempts=n, retrying=True) for id, n in refused.items()]
            a.take_due(
                plan, [row for row in loaded if (row.id, row.uid) not in plan.exclude], now + 60
            )
        for row in a.start(now):
            sent = row.id == 100
            a.finish(row, OK if sent else BAD, now)
            a.settled(row)
    assert a.breaker is BreakerState.CLOSED


def test_due_rows_load_while_open() -> None:
    a = open_lane()
    feed_due(a, [delivery(1, attempts=1, retrying=True)], 5.0, 6.0)
    assert ids(a.start(5.0)) == [1], "the lowest is the probe"
