"""Where to fetch from: position, capacity, tombstones."""

from __future__ import annotations

from itertools import pairwise

from cdc.lanes import LaneRules
from cdc.model import UNREAD, Delivery, Span

from .made import BAD, OK, delivery, feed, feed_due, ids, lane, resource

SMALL = LaneRules(window=10, cap=2, jitter=0.0)


def rows(first: int, last: int) -> list[Delivery]:
    return [delivery(id) for id in range(first, last + 1)]


def test_nothing_is_fetched_while_nothing_is_known() -> None:
    assert lane().plan_fetch() is None


def test_the_first_fetch_takes_a_whole_window() -> None:
    a = lane(SMALL)
    a.noticed(Span(7))
    plan = a.plan_fetch()
    assert plan is not None
    assert (plan.from_id, plan.limit, plan.capacity) == (7, 10, 10)
    assert a.plan_fetch() is None, "one at a time"


def test_fewer_rows_than_asked_for_mean_that_nothing_is_beyond() -> None:
    a = lane(SMALL)
    feed(a, rows(1, 3))
    assert a.plan_fetch() is None
    assert not a.knows(4, "uid-4")
    assert a.knows(3, "uid-3")


def test_a_full_fetch_goes_on_with_its_last_id() -> None:
    a = lane(SMALL)
    a.noticed(Span(1))
    plan = a.plan_fetch()
    assert plan is not None
    a.fetched(plan, rows(1, 10))
    assert a.plan_fetch() is None, "no room"
    for _ in range(5):
        for row in a.start(0.0):
            a.finish(row, OK, 0.0)
            a.settled(row)
    plan = a.plan_fetch()
    assert plan is not None
    assert (plan.from_id, plan.limit, plan.capacity) == (10, 10, 10)


def test_rows_noticed_during_a_fetch_are_kept() -> None:
    a = lane(SMALL)
    a.noticed(Span(5))
    plan = a.plan_fetch()
    assert plan is not None
    a.noticed(Span(9))
    a.noticed(Span(8))
    a.fetched(plan, rows(5, 6))
    plan = a.plan_fetch()
    assert plan is not None
    assert plan.from_id == 8


def test_held_rows_do_not_count_against_the_limit() -> None:
    a = lane(SMALL)
    feed(a, rows(5, 6))
    a.start(0.0)
    a.noticed(Span(3))
    plan = a.plan_fetch()
    assert plan is not None
    assert (plan.from_id, plan.limit, plan.capacity) == (3, 10, 8)
    assert a.fetched(plan, rows(3, 12)) == []
    assert a.size == 10
    assert a.plan_fetch() is None


def test_never_more_than_the_room_even_if_held_rows_were_settled_meanwhile() -> None:
    a = lane(SMALL)
    feed(a, rows(101, 102))
    one, two = a.start(0.0)
    a.finish(one, OK, 0.0)
    a.finish(two, OK, 0.0)
    a.noticed(Span(1))
    plan = a.plan_fetch()
    assert plan is not None
    a.settled(one)
    a.fetched(plan, rows(1, 10))
    assert a.size == 9
    a.settled(two)
    for row in a.start(0.0):
        a.finish(row, OK, 0.0)
        a.settled(row)
    started = []
    for _ in range(8):
        for row in a.start(0.0):
            started.append(row.id)
            a.finish(row, OK, 0.0)
            a.settled(row)
    assert started == [3, 4, 5, 6, 7, 8]
    plan = a.plan_fetch()
    assert plan is not None
    assert plan.from_id == 9


def test_a_settled_row_returned_by_an_older_fetch_is_not_sent_again() -> None:
    a = lane(SMALL)
    feed(a, rows(1, 2))
    one, two = a.start(0.0)
    a.finish(one, OK, 0.0)
    a.noticed(Span(1))
    plan = a.plan_fetch()
    assert plan is not None
    a.settled(one)
    a.fetched(plan, rows(1, 3))
    assert a.size == 2
    a.finish(two, OK, 0.0)
    assert ids(a.start(0.0)) == [3]


def test_a_moved_row_returned_by_an_older_fetch_is_not_sent_again() -> None:
    a = lane(SMALL)
    feed(a, [delivery(1)])
    (one,) = a.start(0.0)
    a.finish(one, BAD, 0.0)
    a.noticed(Span(1))
    plan = a.plan_fetch()
    assert plan is not None
    a.settled(one)
    feed_due(a, [delivery(1, attempts=1, retrying=True)], 5.0)
    (again,) = a.start(5.0)
    a.finish(again, OK, 5.0)
    a.settled(again)
    assert a.fetched(plan, [delivery(1)]) == []
    assert a.size == 0


def test_tombstones_end_with_the_fetch() -> None:
    a = lane(SMALL)
    feed(a, [delivery(1)])
    (one,) = a.start(0.0)
    a.finish(one, OK, 0.0)
    a.noticed(Span(1))
    plan = a.plan_fetch()
    assert plan is not None
    a.settled(one)
    a.fetched(plan, [])
    # A restored database may know the id and uid again.
    feed(a, [delivery(1)])
    assert ids(a.start(0.0)) == [1]


def test_a_lost_fetch_is_planned_again() -> None:
    a = lane(SMALL)
    a.noticed(Span(4))
    plan = a.plan_fetch()
    assert plan is not None
    a.noticed(Span(2))
    a.fetch_failed(plan)
    again = a.plan_fetch()
    assert again is not None
    assert again.from_id == 2
    a.fetch_failed(plan)
    assert a.fetched(plan, rows(2, 3)) == []
    assert a.size == 0, "the lost fetch does not count any more"


def test_fetches_wait_for_half_a_window_unless_the_lane_runs_dry() -> None:
    a = lane(SMALL)
    a.noticed(Span(1))
    plan = a.plan_fetch()
    assert plan is not None
    a.fetched(plan, rows(1, 10))
    for fetches in (False, False, False, True):
        assert (a.plan_fetch() is not None) is fetches
        for row in a.start(0.0):
            a.finish(row, OK, 0.0)
            a.settled(row)


def test_a_lane_that_waits_for_settlements_does_not_run_dry() -> None:
    a = lane(SMALL)
    a.noticed(Span(1))
    plan = a.plan_fetch()
    assert plan is not None
    a.fetched(plan, rows(1, 10))
    done = []
    while started := a.start(0.0):
        done += started
        for row in started:
            a.finish(row, OK, 0.0)
    assert a.plan_fetch() is None
    a.settled(done[0])
    plan = a.plan_fetch()
    assert plan is not None
    assert plan.capacity == 1


def test_the_daemon_may_limit_a_fetch() -> None:
    a = lane(SMALL)
    a.noticed(Span(1))
    assert a.plan_fetch(most=0) is None
    plan = a.plan_fetch(most=3)
    assert plan is not None
    assert plan.capacity == 3


def test_too_many_blocked_resources_stop_fetching() -> None:
    a = lane(LaneRules(blocked_limit=2))
    a.load_blocked(resource("x"), 0)
    a.noticed(Span(1))
    a.load_blocked(resource("y"), 0)
    assert a.plan_fetch() is None
    assert a.promoted(resource("y"), found=False) is False
    assert a.plan_fetch() is not None


def test_rows_noticed_and_equal_ids_at_the_end_of_a_fetch() -> None:
    a = lane(LaneRules(window=2, cap=2))
    a.noticed(Span(1))
    plan = a.plan_fetch()
    assert plan is not None
    a.fetched(plan, [delivery(1), delivery(2, uid="a")])
    for row in a.start(0.0):
        a.finish(row, OK, 0.0)
        a.settled(row)
    plan = a.plan_fetch()
    assert plan is not None
    a.fetched(plan, [delivery(2, uid="b")])
    assert [row.uid for row in a.start(0.0)] == ["b"]


def test_created_rows_from_beyond_the_window_come_along() -> None:
    a = lane(LaneRules(window=2, cap=2))
    a.noticed(Span(1))
    plan = a.plan_fetch()
    assert plan is not None
    late = delivery(9, "x", xid=7, action="created")
    a.fetched(plan, [delivery(1, "x", xid=7), delivery(2)], [late])
    started = a.start(0.0)
    assert ids(started) == [2, 9]
    for row in started:
        a.finish(row, OK, 0.0)
        a.settled(row)
    assert ids(a.start(0.0)) == [1]
    plan = a.plan_fetch()
    assert plan is not None
    assert plan.from_id == 2, "the position is where the window ended"


def test_created_rows_beyond_what_was_taken_come_along_and_no_others() -> None:
    a = lane(LaneRules(window=3, cap=3))
    feed(a, [delivery(50)])
    (fifty,) = a.start(0.0)
    a.finish(fifty, OK, 0.0)
    a.noticed(Span(1))
    plan = a.plan_fetch()
    assert plan is not None
    assert (plan.limit, plan.capacity) == (3, 2)
    a.settled(fifty)
    window = [delivery(1, "x", xid=7), delivery(2), delivery(3, "x", xid=7, action="created")]
    others = [delivery(4, "z", xid=8, action="created")]
    a.fetched(plan, window, others)
    assert ids(a.start(0.0)) == [2, 3]
    plan = a.plan_fetch()
    assert plan is None or plan.from_id == 3


def test_created_rows_beyond_the_window_that_are_held_or_settled_are_skipped() -> None:
    a = lane(SMALL)
    feed(a, [delivery(8, "x", xid=7, action="created"), delivery(9, "y", xid=7, action="created")])
    (eight, _) = a.start(0.0)
    a.finish(eight, OK, 0.0)
    a.noticed(Span(1))
    plan = a.plan_fetch()
    assert plan is not None
    a.settled(eight)
    created = [delivery(8, "x", xid=7, action="created"), delivery(9, "y", xid=7, action="created")]
    a.fetched(plan, [delivery(1, "x", xid=7), delivery(2, "y", xid=7)], created)
    assert a.size == 3


def test_rows_that_begin_anywhere_are_read_in_steps() -> None:
    """A step that takes too long is made smaller; none is left out, nor what comes meanwhile."""
    a = lane()
    a.noticed(Span(UNREAD))
    a.noticed(Span(7_000_000, 7_000_001))
    given_up = 0
    read: list[tuple[int, int]] = []
    while (plan := a.plan_fetch()) is not None:
        assert plan.end is not None
        if plan.to_id - max(plan.from_id, 0) > 3_000_000 and not given_up:
            given_up += 1
            a.fetch_failed(plan)
            a.stepped(done=False)
            continue
        read.append((plan.from_id, plan.to_id))
        if len(read) == 2:
            a.noticed(Span(3, 4))  # of a transaction that was open for long
        a.stepped(done=True)
        a.fetched(plan, [delivery(7_000_000)] if plan.from_id <= 7_000_000 <= plan.to_id else [])
        if plan.to_id == 2**63 - 1:
            break
    assert given_up
    assert read[0][0] == UNREAD, "a row below 0 would stay in the queue"
    assert 0 < read[0][1] < 2**32
    assert all(after == before + 1 for (_, before), (after, _) in pairwise(read[:2]))
    assert min(first for first, _ in read[2:]) == 3
    assert [row.id for row in a.start(1.0)] == [7_000_000]
    a.noticed(Span(8_000_000, 8_000_000))
    plan = a.plan_fetch()
    assert plan is not None
    assert plan.end is None


def test_a_row_created_after_a_delete_does_not_come_along() -> None:
    """The delete lies behind the lane's part of the window."""
    actions = {1: "modified", 2: "deleted", 3: "created"}
    one, two, three = (delivery(n, "x", xid=7, action=action) for n, action in actions.items())
    for window, beyond in (([one, two], [three]), ([one, two, three], [])):
        a = lane(LaneRules(window=3, cap=3))
        feed(a, [delivery(50), delivery(51)])
        fifty, more = a.start(0.0)
        for row in (fifty, more):
            a.finish(row, OK, 0.0)
        a.noticed(Span(1))
        plan = a.plan_fetch()
        assert plan is not None
        assert plan.capacity == 1
        a.fetched(plan, window, beyond)
        assert ids(a.start(0.0)) == [1]
        assert a.size == 3, "the two that end, and the first"
