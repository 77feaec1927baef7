"""What arrived against what was written."""

from __future__ import annotations

from tests.bench.account import Written, match, summed, tally
from tests.bench.target import Receipt

MS = 1_000_000
HOOKS = 2


def written(*keys: int) -> list[Written]:
    """Change number k is due at k ms, sent half a millisecond late."""
    return [Written(key, key * MS, key * MS + MS // 2, key * MS + MS) for key in keys]


def receipt(key: int, at_ms: float, *, hook: int = 0, uid: bytes = b"") -> Receipt:
    return Receipt(int(at_ms * MS), hook or 1 + (key - 1) % HOOKS, key, uid)


def test_latency_counts_from_when_a_change_was_due() -> None:
    account = match(written(1, 2, 3), [receipt(1, 2), receipt(3, 5), receipt(2, 6)], HOOKS)
    assert account.latencies == [1, 2, 4]
    assert account.from_sent == [0.5, 1.5, 3.5]
    assert (account.lost, account.repeated, account.strange) == (0, 0, 0)


def test_the_first_receipt_of_a_change_counts_and_others_are_repeats() -> None:
    account = match(written(1), [receipt(1, 2), receipt(1, 9)], HOOKS)
    assert account.latencies == [1]
    assert account.repeated == 1


def test_what_did_not_come_is_lost() -> None:
    account = match(written(1, 2), [receipt(2, 3)], HOOKS)
    assert account.lost == 1
    assert match(written(1), [], HOOKS).latency(0.5) == float("inf")


def test_an_unowed_or_misdirected_arrival_is_strange() -> None:
    account = match(written(1), [receipt(7, 3), receipt(1, 3, hook=2)], HOOKS)
    assert (account.strange, account.lost) == (2, 1)


def test_a_warm_up_is_owed_but_not_in_the_latency() -> None:
    # Number 2 is sent before and committed after, number 1 all before.
    since = 3 * MS - MS // 4
    account = match(
        written(1, 2, 3, 4), [receipt(1, 2), receipt(2, 3), receipt(3, 5)], HOOKS, since
    )
    assert account.latencies == [1, 2]
    assert account.lost == 1


def test_changes_of_one_row_are_distinguished_by_webhook_id() -> None:
    receipts = [receipt(1, n, uid=uid) for n, uid in enumerate((b"a", b"b", b"b"))]
    assert tally(4, receipts) == (2, 1)


def test_without_a_webhook_id_rows_are_counted() -> None:
    empty = bytes(36)
    receipts = [receipt(key, 1, uid=empty) for key in (1, 2, 2)]
    assert tally(2, receipts) == (0, 1)


def test_several_runs_together() -> None:
    some = [match(written(1, 2), [receipt(2, 3), receipt(2, 4), receipt(9, 4)], HOOKS)] * 2
    assert summed(some) == {"lost": 2, "repeated": 4}
