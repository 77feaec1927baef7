"""The account finds what must not be: each kind of violation is made up once."""

from __future__ import annotations

from itertools import count

from cdc.sandbox.account import Account, Disturbances, account
from cdc.sandbox.records import Arrival, Change, Hook

HOOK = Hook(0, "1", frozenset({"rating_changed"}))
CALM = Disturbances([])
STORM = Disturbances([(0.0, 100.0)])


def change(version: int, *, key: str = "9", committed: bool = True, company: str = "1") -> Change:
    """Written at second ``10 * version``, in microseconds."""
    since = version * 10_000_000
    action = "modified" if version else "created"
    done = version + 0.5
    return Change(
        company, "rating_changed", key, action, version, since, since + 1000, done, committed
    )


def request(
    of: Change,
    received: float,
    ended: float,
    status: int = 204,
    *,
    uid: str = "",
    problem: str = "",
) -> Arrival:
    return Arrival(
        0,
        uid or f"uid-{of.key}-{of.version}",
        of.company,
        of.event,
        of.key,
        of.action,
        of.since + 500,
        received,
        ended,
        status,
        problem,
    )


def held(
    changes: list[Change],
    requests: list[Arrival],
    disturbances: Disturbances = CALM,
    rejected: frozenset[tuple[int, str, str]] = frozenset(),
    budget: int = 2,
) -> Account:
    return account(changes, requests, [HOOK], disturbances, rejected, budget)


def kinds(result: Account) -> dict[str, int]:
    return dict(result.counts)


A, B, C = change(0), change(1), change(2)


def test_all_is_well() -> None:
    result = held(
        [A, B, C],
        [
            request(C, 4.0, 4.1),  # records come in any order
            request(A, 1.0, 1.1, 500),
            request(A, 2.0, 2.1),
            request(B, 3.0, 3.1),
        ],
    )
    assert kinds(result) == {}
    assert (result.owed, result.delivered, result.requests) == (3, 3, 4)
    assert (result.retries, result.repeats) == (0 + 1, 0)


def test_lost_never_sent_and_never_accepted() -> None:
    assert kinds(held([A], [])) == {"lost": 1}
    assert kinds(held([A], [request(A, 1.0, 1.1, 500), request(A, 2.0, 9.0, 0)])) == {"lost": 1}


def test_lost_at_one_webhook_of_two() -> None:
    other = Hook(1, "1", frozenset({"rating_changed"}))
    result = account([A], [request(A, 1.0, 1.1)], [HOOK, other], CALM)
    assert kinds(result) == {"lost": 1}
    assert result.violations[0].webhook == 1


def test_what_is_not_subscribed_or_of_another_company_is_not_owed() -> None:
    foreign = change(1, company="2")
    assert kinds(held([A, foreign], [request(A, 1.0, 1.1)])) == {}
    result = held([A, foreign], [request(A, 1.0, 1.1), request(foreign, 2.0, 2.1)])
    assert kinds(result) == {"unowed": 1}


def test_sent_after_rollback() -> None:
    undone = change(1, committed=False)
    result = held([A, undone], [request(A, 1.0, 1.1), request(undone, 2.0, 2.1)])
    assert kinds(result) == {"rolled back": 1}
    assert result.rolled_back == 1


def test_a_rollback_beside_a_loss_does_not_hide_it() -> None:
    """As many came as were committed, but not the same."""
    undone = change(1, committed=False)
    result = held([A, undone, C], [request(A, 1.0, 1.1), request(undone, 2.0, 2.1)])
    assert kinds(result) == {"rolled back": 1, "lost": 1}


def test_an_arrival_without_a_writer() -> None:
    stray = request(A, 2.0, 2.1)._replace(time=A.until + 1)
    assert kinds(held([A], [request(A, 1.0, 1.1), stray])) == {"unowed": 1}
    unknown = request(change(0, key="10"), 2.0, 2.1)
    assert kinds(held([A], [request(A, 1.0, 1.1), unknown])) == {"unowed": 1}


def test_the_wrong_action() -> None:
    wrong = request(A, 1.0, 1.1)._replace(action="modified")
    assert kinds(held([A], [wrong])) == {"unowed": 1, "lost": 1}


def test_reordered() -> None:
    result = held([A, B], [request(B, 1.0, 1.1), request(A, 2.0, 2.1)])
    assert kinds(result) == {"overtaken": 1}


def test_sent_before_the_one_before_was_final() -> None:
    failed_once = [request(A, 1.0, 1.1, 500), request(B, 2.0, 2.1), request(A, 3.0, 3.1)]
    assert kinds(held([A, B], failed_once)) == {"overtaken": 1}
    never = [request(A, 1.0, 1.1, 500), request(B, 2.0, 2.1)]
    assert kinds(held([A, B], never)) == {"lost": 1, "overtaken": 1}


def test_a_rolled_back_change_between_two_does_not_matter_for_order() -> None:
    undone = change(1, committed=False)
    assert kinds(held([A, undone, C], [request(A, 1.0, 1.1), request(C, 2.0, 2.1)])) == {}


def test_overlapping() -> None:
    result = held([A, B], [request(A, 1.0, 1.5), request(B, 1.2, 1.7)], STORM)
    assert kinds(result) == {"overtaken": 1, "overlapping": 1}


def test_a_long_one_overlaps_with_all_that_come_during_it() -> None:
    hung = [request(A, 1.0, 9.0), request(B, 2.0, 2.1), request(C, 3.0, 3.1)]
    assert kinds(held([A, B, C], hung, STORM))["overlapping"] == 2


def test_a_stopped_daemons_request_stays_open_while_its_successor_goes_on() -> None:
    goes_on = [request(A, 1.0, 9.0, 0), request(A, 4.0, 4.1), request(B, 5.0, 5.1)]
    result = held([A, B], goes_on, STORM)
    assert kinds(result) == {}
    assert result.overlapping == 2
    assert kinds(held([A, B], goes_on)) == {"overlapping without a cause": 2}


def test_other_rows_may_overlap() -> None:
    other = change(0, key="10")
    assert kinds(held([A, other], [request(A, 1.0, 1.5), request(other, 1.2, 1.7)])) == {}


def test_a_repeat_after_a_fault_is_counted_apart() -> None:
    """A daemon that is killed after B was begun: its successor sends A and B again."""
    again = [
        request(A, 1.0, 1.1),
        request(B, 1.2, 3.0, 0),
        request(A, 2.0, 2.1),
        request(B, 2.2, 2.3),
    ]
    result = held([A, B], again, STORM)
    assert kinds(result) == {}
    assert (result.repeats, result.retries, result.overlapping) == (1, 1, 2)


def test_a_repeat_without_a_fault() -> None:
    again = [request(A, 1.0, 1.1), request(A, 2.0, 2.1)]
    assert kinds(held([A], again)) == {"repeated without a cause": 1}
    assert kinds(held([A], again, Disturbances([(3.0, 4.0)]))) == {"repeated without a cause": 1}
    overlapping = [request(A, 1.0, 1.5, 0), request(A, 1.2, 1.7)]
    assert kinds(held([A], overlapping)) == {"overlapping without a cause": 1}


def test_identity() -> None:
    two_ids = [request(A, 1.0, 1.1, 500), request(A, 2.0, 2.1, uid="another")]
    assert kinds(held([A], two_ids)) == {"identity": 1}
    one_id = [request(A, 1.0, 1.1, uid="same"), request(B, 2.0, 2.1, uid="same")]
    assert kinds(held([A, B], one_id)) == {"identity": 1}


def test_unverified() -> None:
    assert kinds(held([A], [request(A, 1.0, 1.1, problem="wrong")])) == {"unverified": 1}


def test_refused_for_ever() -> None:
    rejected = frozenset({(0, "rating_changed", "9")})
    dead = [request(A, float(n), n + 0.1, 500) for n in (1, 2)]
    assert kinds(held([A, B], dead, rejected=rejected)) == {}
    assert kinds(held([A, B], [*dead, request(B, 3.0, 3.1, 500)], rejected=rejected)) == {}
    early = [dead[0], request(B, 1.5, 1.6, 500), dead[1]]
    assert kinds(held([A, B], early, rejected=rejected)) == {"overtaken": 1}
    assert held([A, B], dead, rejected=rejected).owed == 0


def test_all_are_counted_and_some_are_shown() -> None:
    keys = count(1)
    result = held([change(0, key=str(next(keys))) for _ in range(100)], [])
    assert kinds(result) == {"lost": 100}
    assert len(result.violations) == 20


def test_altered() -> None:
    wrong = request(A, 1.0, 1.1)._replace(altered="other bytes")
    assert kinds(held([A], [wrong])) == {"altered": 1}
    retried = [request(A, 1.0, 1.1, 500), request(A, 2.0, 2.1)._replace(digest=7)]
    assert kinds(held([A], retried)) == {"altered": 1}


def test_late() -> None:
    came = [request(A, 4.0, 4.1)]  # committed at 0.5
    assert kinds(account([A], came, [HOOK], late_after=3.0)) == {"late": 1}
    assert kinds(account([A], came, [HOOK], late_after=4.0)) == {}


def test_a_request_for_an_unknown_webhook_is_not_owed() -> None:
    stray = request(A, 2.0, 2.1)._replace(webhook=-1)
    result = held([A], [request(A, 1.0, 1.1), stray])
    assert kinds(result) == {"unowed": 1}
    assert result.violations[0].event == "rating_changed"


def test_a_sender_without_ids_is_not_accused_of_using_one_twice() -> None:
    bare = [request(A, 1.0, 1.1), request(B, 2.0, 2.1)]
    assert kinds(held([A, B], [came._replace(uid="") for came in bare])) == {}


def test_each_delivery_and_when_it_came_first() -> None:
    result = held(
        [A, B, C], [request(A, 1.0, 1.1, 500), request(A, 2.0, 2.1), request(C, 3.0, 3.1)]
    )
    assert [(owed.change, owed.first) for owed in result.deliveries] == [
        (A, 1.0),
        (B, None),
        (C, 3.0),
    ]
