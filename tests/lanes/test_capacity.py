"""Places: long keys take more of them, and all lanes of a daemon share a capacity."""

from __future__ import annotations

from cdc.lanes import Capacity, Lane, LaneRules
from cdc.model import Delivery, Span

from .made import OK, delivery, feed, ids, lane

SMALL = LaneRules(window=10, cap=2, jitter=0.0)


def rows(first: int, last: int) -> list[Delivery]:
    return [delivery(id) for id in range(first, last + 1)]


def test_long_keys_take_more_places() -> None:
    a = lane(SMALL)
    a.noticed(Span(1))
    plan = a.plan_fetch()
    assert plan is not None
    long = [delivery(id, places=4) for id in range(1, 11)]
    a.fetched(plan, long)
    assert a.size == 3, "the last one may take more than is left"
    assert a.came([delivery(99)]) is None, "four are still to be read before it"
    done = []
    while started := a.start(0.0):
        done += started
        for row in started:
            a.finish(row, OK, 0.0)
    assert ids(done) == [1, 2, 3]
    for row in done:
        a.settled(row)
    plan = a.plan_fetch()
    assert plan is not None
    assert (plan.from_id, plan.capacity) == (4, 10)
    assert plan.limit == 3, "no more than there will be room for"


def test_lanes_share_a_room() -> None:
    capacity = Capacity(20)
    full, other = lane(SMALL, capacity), lane(SMALL, capacity)
    feed(full, rows(1, 9))
    assert other.came(rows(1, 10)) == []
    assert capacity.left == 1
    # Less than is worth a fetch: only who runs dry gets something.
    full.noticed(Span(10))
    assert not full.wants_fetch
    assert full.came([delivery(10)]) is None
    for row in full.start(0.0):
        full.finish(row, OK, 0.0)
        full.settled(row)
    assert capacity.left == 3
    plan = full.plan_fetch()
    assert plan is None, "the window has not much room either"
    other.leave()
    assert capacity.left == 13
    for row in other.start(0.0):
        other.finish(row, OK, 0.0)
        other.settled(row)
    assert capacity.left == 13, "what has left does not count here"


def test_without_room_a_lane_gets_what_it_needs_to_go_on() -> None:
    capacity = Capacity(1)
    a, b = lane(SMALL, capacity), lane(SMALL, capacity)
    feed_some(a, rows(1, 10))
    assert a.size == 2, "as many as it may send at once"
    feed_some(b, [delivery(id, places=4) for id in range(1, 11)])
    assert b.size == 1
    assert b.wants_fetch
    assert capacity.left == 1 - 2 - 4
    assert ids(a.start(0.0)) == [1, 2]
    assert a.wants_fetch
    feed_some(a, rows(3, 10))
    assert a.size == 4
    assert not a.wants_fetch, "nothing more before something is sent"


def feed_some(lane: Lane, rows: list[Delivery]) -> None:
    lane.noticed(Span(rows[0].id))
    plan = lane.plan_fetch()
    assert plan is not None
    lane.fetched(plan, rows[: plan.limit])
