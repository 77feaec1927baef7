"""What the table of costs by process is computed from."""

from __future__ import annotations

from tests.bench.spent import CONSUMER, OTHER, WATCHES, Spent, Use, spent_between, table


def test_what_was_used_before_and_after_does_not_count() -> None:
    samples = [
        (0.0, {1: Use(0.0, 0), 2: Use(1.0, 10)}),
        (1.0, {1: Use(1.0, 100), 2: Use(1.5, 30)}),
        (3.0, {1: Use(2.0, 500), 2: Use(1.5, 30), 3: Use(0.5, 4)}),
        (9.0, {1: Use(9.0, 900)}),
    ]
    found = spent_between(samples, {1: CONSUMER, 2: WATCHES}, 0.5, 3.5)
    assert found == {CONSUMER: (0.5, 200.0), WATCHES: (0.0, 0.0), OTHER: (0.25, 2.0)}


def test_the_ratio_is_the_median_of_the_pairs() -> None:
    ours = [Spent({CONSUMER: us}, {CONSUMER: 40.0}, 1.5, 3.0) for us in (400.0, 300.0, 900.0)]
    plain = [Spent({CONSUMER: us}, {CONSUMER: 20.0}, 0.5, 1.0) for us in (100.0, 200.0, 450.0)]
    assert table({1000: (ours, plain)})[2:] == [
        "| 1,000/s | 400 | 0 | 0 | 0 | 400 | 2.00 | 1.50 | 3.00 | 40+0 |",
        "| (b) | 200 | 0 | 0 | 0 | 200 | 1 | 0.50 | 1.00 | 20+0 |",
    ]
