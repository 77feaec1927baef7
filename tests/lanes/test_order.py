"""One resource: one delivery in flight, the lowest undone one."""

from __future__ import annotations

import pytest

from cdc.lanes import LaneRules, Retry

from .made import BAD, OK, delivery, feed, feed_due, ids, lane, resource


def test_heads_start_lowest_id_first() -> None:
    a = lane()
    feed(a, [delivery(3), delivery(1), delivery(2)])
    assert ids(a.start(0.0)) == [1, 2, 3]


def test_rows_that_come_late_with_a_lower_id_go_first() -> None:
    a = lane()
    feed(a, [delivery(5)])
    feed(a, [delivery(4), delivery(5)])
    assert ids(a.start(0.0)) == [4, 5]
    assert a.size == 2


def test_next_of_a_resource_waits_for_the_outcome_but_not_for_its_settlement() -> None:
    a = lane()
    feed(a, [delivery(1, "x"), delivery(2, "x"), delivery(3)])
    one, three = a.start(0.0)
    assert (one.id, three.id) == (1, 3)
    assert a.start(0.0) == []
    a.finish(one, OK, 0.1)
    assert ids(a.start(0.1)) == [2]


def test_created_goes_before_modified_of_one_transaction() -> None:
    a = lane()
    feed(a, [delivery(1, "x", xid=7), delivery(2, "x", xid=7, action="created")])
    created = a.start(0.0)
    assert ids(created) == [2]
    a.finish(created[0], OK, 0.0)
    assert ids(a.start(0.0)) == [1]


def test_created_goes_first_also_when_fetched_later() -> None:
    a = lane()
    feed(a, [delivery(1, "x", xid=7), delivery(3, "x", xid=9)])
    feed(a, [delivery(2, "x", xid=7, action="created")])
    assert ids(a.start(0.0)) == [2]


def test_a_row_that_was_deleted_in_between_is_created_after_that() -> None:
    """In one transaction; a trigger of the suite updates the row before the insert is captured."""
    actions = ["modified", "deleted", "modified", "created", "deleted", "created"]
    rows = [delivery(n, "x", xid=7, action=action) for n, action in enumerate(actions, 1)]
    for parts in ([rows], [rows[:2], rows[2:]], [rows[:3], rows[3:5], rows[5:]]):
        a = lane()
        for part in parts:
            feed(a, part)
        order = []
        while head := a.start(0.0):
            order += ids(head)
            a.finish(head[0], OK, 0.0)
        assert order == [1, 2, 4, 3, 5, 6]


def test_created_does_not_overtake_a_modified_that_was_started() -> None:
    a = lane()
    feed(a, [delivery(1, "x", xid=7)])
    (one,) = a.start(0.0)
    feed(a, [delivery(2, "x", xid=7, action="created")])
    assert a.start(0.0) == []
    a.abandon(one)
    assert ids(a.start(0.0)) == [1]


def test_modified_that_comes_late_stays_behind_its_created() -> None:
    a = lane()
    feed(a, [delivery(5, "x", xid=7, action="created"), delivery(6, "x", xid=8)])
    feed(a, [delivery(4, "x", xid=7)])
    order = []
    while rows := a.start(0.0):
        order += ids(rows)
        a.finish(rows[0], OK, 0.0)
    assert order == [5, 4, 6]


def test_failed_delivery_sends_what_waits_behind_it_to_be_parked() -> None:
    a = lane()
    feed(a, [delivery(1, "x"), delivery(2, "x"), delivery(3, "x"), delivery(4)])
    one, four = a.start(0.0)
    decision = a.finish(one, BAD, 0.0)
    assert decision.settlement == Retry(5.0, 1)
    assert ids(decision.park) == [2, 3]
    assert a.blocked == {resource("x"): 2}
    a.finish(four, OK, 0.0)
    assert a.start(1000.0) == []
    assert a.size == 4, "held until the settlement is confirmed"
    for row in (one, *decision.park, four):
        a.settled(row)
    assert a.size == 0


def test_rows_fetched_for_a_blocked_resource_are_parked() -> None:
    a = lane()
    a.load_blocked(resource("x"), 3, due=9.0)
    assert ids(feed(a, [delivery(1, "x"), delivery(2)])) == [1]
    assert a.blocked == {resource("x"): 4}
    assert ids(a.start(0.0)) == [2]
    assert a.due_at() == 9.0


def test_retried_delivery_is_loaded_when_due_and_frees_its_resource() -> None:
    a = lane()
    feed(a, [delivery(1, "x")])
    (one,) = a.start(0.0)
    a.finish(one, BAD, 10.0)
    assert a.due_at() is None, "not before the move is confirmed"
    a.settled(one)
    assert a.due_at() == 15.0
    assert a.plan_due(14.9) is None
    feed_due(a, [delivery(1, "x", attempts=1, retrying=True)], 15.0)
    assert a.due_at() is None
    (again,) = a.start(15.0)
    decision = a.finish(again, OK, 15.0)
    assert decision.promote == resource("x")
    assert feed(a, [delivery(2, "x")]) != [], "blocked until the database says otherwise"
    a.settled(again)
    assert a.promoted(resource("x"), found=False), "a row was parked meanwhile"
    assert a.promoted(resource("x"), found=False) is False
    assert a.blocked == {}
    feed(a, [delivery(3, "x")])
    assert ids(a.start(15.0)) == [3]


def test_parked_rows_follow_one_by_one() -> None:
    a = lane()
    a.load_blocked(resource("x"), 1, due=0.0)
    feed_due(a, [delivery(1, "x", retrying=True)], 0.0)
    (one,) = a.start(0.0)
    decision = a.finish(one, OK, 1.0)
    assert decision.promote == resource("x")
    assert a.blocked == {resource("x"): 0}
    a.settled(one)
    assert a.due_at() is None
    assert a.promoted(resource("x"), found=True) is False
    assert a.due_at() is not None
    feed_due(a, [delivery(2, "x", retrying=True)], 1.0)
    assert ids(a.start(1.0)) == [2]


def test_load_blocked_while_running_parks_what_waits() -> None:
    a = lane(LaneRules(cap=2))
    feed(a, [delivery(1, "x"), delivery(2, "x"), delivery(3, "y"), delivery(4, "z")])
    (one, _) = a.start(0.0)
    assert a.load_blocked(resource("x"), 0) == [], "1 is in flight, and may not be overtaken"
    assert a.load_blocked(resource("y"), 0) == []
    assert ids(a.load_blocked(resource("z"), 0)) == [4]
    assert a.blocked[resource("z")] == 1
    assert ids(a.finish(one, OK, 0.0).park) == [2]
    assert a.blocked[resource("x")] == 1
    assert a.start(0.0) == []


def test_replay_goes_before_what_waits_in_its_resource() -> None:
    a = lane()
    feed(a, [delivery(5, "x"), delivery(6, "y"), delivery(7, "y")])
    (five, six) = a.start(0.0)
    assert ids([five, six]) == [5, 6]
    a.noticed_due(0.0)
    replays = [delivery(1, "x", retrying=True), delivery(2, "y", retrying=True)]
    assert feed_due(a, replays, 0.0) == []
    assert a.start(0.0) == []
    # What waits stays in the queue for as long as a row before it may have to be sent again.
    assert feed(a, [delivery(8, "y")]) == []
    assert ids(a.finish(six, OK, 0.0).park) == [7, 8]
    assert ids(a.start(0.0)) == [2]
    assert ids(feed(a, [delivery(9, "y")])) == [9]


def test_replay_behind_a_row_that_fails_keeps_its_place_in_the_table() -> None:
    a = lane()
    feed(a, [delivery(5, "x")])
    (five,) = a.start(0.0)
    a.noticed_due(0.0)
    feed_due(a, [delivery(1, "x", retrying=True)], 0.0)
    decision = a.finish(five, BAD, 1.0)
    assert decision.park == ()
    assert a.due_at() is not None
    assert a.plan_due(1.0) is not None


def test_replay_behind_a_row_that_succeeds_is_next() -> None:
    a = lane()
    feed(a, [delivery(5, "x")])
    (five,) = a.start(0.0)
    a.noticed_due(0.0)
    feed_due(a, [delivery(1, "x", retrying=True)], 0.0)
    assert a.finish(five, OK, 1.0).promote is None
    (one,) = a.start(1.0)
    assert a.finish(one, OK, 1.0).promote == resource("x")


def test_replay_before_its_death_is_confirmed_is_not_overlooked() -> None:
    a = lane(LaneRules(schedule=()))
    a.noticed_due(0.0)
    feed_due(a, [delivery(1, "x", retrying=True)], 0.0)
    (one,) = a.start(0.0)
    a.finish(one, BAD, 0.0)
    a.noticed_due(1.0)
    plan = a.plan_due(1.0)
    assert plan is not None
    assert plan.exclude == ((1, one.uid),)
    a.take_due(plan, [], None)
    a.settled(one)
    feed_due(a, [delivery(1, "x", retrying=True)], 1.0)
    assert ids(a.start(1.0)) == [1]


def test_replay_of_a_queue_row_before_its_death_is_confirmed_is_not_overlooked() -> None:
    a = lane(LaneRules(schedule=()))
    feed(a, [delivery(1, "x")])
    (one,) = a.start(0.0)
    a.finish(one, BAD, 0.0)
    a.noticed_due(1.0)
    feed_due(a, [delivery(1, "x", retrying=True)], 1.0)
    assert a.start(1.0) == []
    a.settled(one)
    feed_due(a, [delivery(1, "x", retrying=True)], 1.0)
    assert ids(a.start(1.0)) == [1]


def test_replay_loaded_before_an_older_promotion_is_answered_keeps_its_resource() -> None:
    a = lane()
    a.noticed_due(0.0)
    feed_due(a, [delivery(3, "x", retrying=True)], 0.0)
    (three,) = a.start(0.0)
    assert a.finish(three, OK, 0.0).promote == resource("x")
    a.noticed_due(0.0)
    feed_due(a, [delivery(1, "x", retrying=True)], 0.0)
    a.settled(three)
    assert a.promoted(resource("x"), found=False) is False
    assert resource("x") in a.blocked, "the answer is older than the replay"
    (one,) = a.start(0.0)
    a.finish(one, OK, 0.0)
    a.settled(one)
    assert a.promoted(resource("x"), found=False) is False
    assert a.blocked == {}


def test_only_the_last_of_several_answers_frees_a_resource() -> None:
    a = lane()
    a.noticed_due(0.0)
    rows = [delivery(id, "x", retrying=True) for id in (1, 2)]
    feed_due(a, rows, 0.0)
    for row in rows:
        a.start(0.0)
        a.finish(row, OK, 0.0)
        a.settled(row)
    assert a.promoted(resource("x"), found=False) is False
    assert resource("x") in a.blocked
    assert a.promoted(resource("x"), found=False) is False
    assert a.blocked == {}


def test_abandoned_attempt_is_started_again() -> None:
    a = lane()
    feed(a, [delivery(1, "x"), delivery(2, "x")])
    (one,) = a.start(0.0)
    a.abandon(one)
    assert not a.in_flight
    assert a.start(0.0) == [one]


def test_equal_ids_are_two_deliveries() -> None:
    a = lane()
    feed(a, [delivery(1, "x", uid="a"), delivery(1, "y", uid="b")])
    assert [row.uid for row in a.start(0.0)] == ["a", "b"]


def test_a_caller_that_loses_track_gets_an_error() -> None:
    a = lane()
    feed(a, [delivery(1), delivery(2)])
    one, two = a.start(0.0)
    with pytest.raises(LookupError, match="was not decided"):
        a.settled(one)
    a.finish(one, OK, 0.0)
    with pytest.raises(LookupError, match="not in flight"):
        a.finish(one, OK, 0.0)
    with pytest.raises(LookupError, match="not in flight"):
        a.abandon(one)
    a.settled(one)
    a.settled(one)
    a.abandon(two)


def test_overtaken_heap_entries_are_thrown_away() -> None:
    a = lane(LaneRules(window=10_000))
    for id in range(1000, 0, -1):  # each becomes the head of the line
        feed(a, [delivery(id, "x")])
    order = []
    while started := a.start(0.0):
        order += ids(started)
        a.finish(started[0], OK, 0.0)
        a.settled(started[0])
    assert order == list(range(1, 1001))
