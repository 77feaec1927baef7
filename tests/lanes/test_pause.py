"""Pause, drop, and the rows of the retry table that are due."""

from __future__ import annotations

from cdc.lanes import LaneRules
from cdc.model import Delivery, Span

from .made import BAD, OK, delivery, feed, feed_due, ids, lane

SMALL = LaneRules(window=10, cap=2, jitter=0.0)


def rows(first: int, last: int) -> list[Delivery]:
    return [delivery(id) for id in range(first, last + 1)]


def test_a_paused_lane_starts_and_fetches_nothing() -> None:
    a = lane(SMALL)
    a.noticed(Span(1))
    plan = a.plan_fetch()
    assert plan is not None
    a.fetched(plan, rows(1, 3))
    one, _ = a.start(0.0)
    a.noticed_due(0.0)
    a.pause()
    assert a.paused
    assert a.in_flight
    assert a.start(0.0) == []
    assert a.wake_at(0.0) is None
    assert a.plan_fetch() is None
    assert a.plan_due(1.0) is None
    assert a.due_at() is None
    a.finish(one, OK, 0.0)
    a.resume()
    assert ids(a.start(0.0)) == [3]


def test_what_comes_while_paused_is_left_for_later() -> None:
    a = lane(SMALL)
    a.noticed(Span(1))
    a.noticed_due(0.0)
    fetch, due = a.plan_fetch(), a.plan_due(0.0)
    assert fetch is not None
    assert due is not None
    a.pause()
    a.fetched(fetch, rows(1, 3))
    a.take_due(due, [delivery(9, retrying=True)], None)
    assert a.size == 0
    a.resume()
    assert a.plan_fetch() is not None
    assert a.plan_due(0.0) is not None


def test_drop_forgets_what_was_not_started_and_fetches_it_again() -> None:
    a = lane(SMALL)
    a.noticed_due(0.0)
    feed(a, [delivery(4, "x"), delivery(5, "x"), delivery(6, "x"), delivery(7), delivery(8)])
    four, _ = a.start(0.0)
    feed_due(a, [delivery(1, retrying=True)], 0.0)
    a.pause()
    a.drop()
    assert ids([four]) == [4]
    assert (a.size, a.waiting, a.in_flight) == (2, 0, 2)
    a.finish(four, BAD, 0.0)
    a.resume()
    assert a.plan_due(0.0) is not None
    plan = a.plan_fetch()
    assert plan is not None
    assert plan.from_id == 5
    assert ids(a.fetched(plan, rows(5, 6))) == []
    assert a.knows(5, "uid-5")


def test_drop_makes_a_running_fetch_worthless() -> None:
    a = lane(SMALL)
    feed(a, [delivery(1, "x")])
    a.noticed(Span(2))
    plan = a.plan_fetch()
    assert plan is not None
    a.drop()
    assert a.fetched(plan, [delivery(2, "x")]) == []
    assert a.size == 0
    again = a.plan_fetch()
    assert again is not None
    assert again.from_id == 1


def test_due_rows_in_memory_are_bounded_and_excluded() -> None:
    a = lane(SMALL)
    a.noticed_due(0.0)
    plan = a.plan_due(0.0)
    assert plan is not None
    assert (plan.limit, plan.exclude) == (8, ())
    assert a.plan_due(0.0) is None, "one at a time"
    a.take_due(plan, [delivery(id, retrying=True) for id in range(1, 9)], 0.0)
    assert a.plan_due(0.0) is None, "no room"
    for _ in range(2):
        for row in a.start(0.0):
            a.finish(row, OK, 0.0)
            a.settled(row)
    plan = a.plan_due(0.0)
    assert plan is not None
    assert (plan.limit, sorted(id for id, _ in plan.exclude)) == (4, [5, 6, 7, 8])


def test_a_due_row_whose_move_is_not_confirmed_is_loaded_later() -> None:
    a = lane()
    feed(a, [delivery(1)])
    (one,) = a.start(0.0)
    a.finish(one, BAD, 0.0)
    a.noticed_due(5.0)
    feed_due(a, [delivery(1, attempts=1, retrying=True)], 5.0)
    assert a.start(5.0) == []
    a.settled(one)
    feed_due(a, [delivery(1, attempts=1, retrying=True)], 5.0)
    assert ids(a.start(5.0)) == [1]


def test_wants_fetch_agrees_with_plan_fetch() -> None:
    a = lane(SMALL)
    wants = [a.wants_fetch]
    a.noticed(Span(1))
    wants.append(a.wants_fetch)
    a.pause()
    wants.append(a.wants_fetch)
    a.resume()
    assert a.plan_fetch() is not None
    wants.append(a.wants_fetch)
    assert wants == [False, True, False, False]
