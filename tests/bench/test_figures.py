"""The arithmetic: percentiles, rates, medians, what has to be reached."""

from __future__ import annotations

import math
from statistics import quantiles

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.sandbox.account import percentile
from tests.bench.figures import SECOND, Bound, Figure, by_second, rate


def test_a_percentile_is_one_of_the_values() -> None:
    hundred = [float(n) for n in range(1, 101)]
    assert [percentile(hundred, share) for share in (0.5, 0.9, 0.99, 1.0)] == [50, 90, 99, 100]
    assert percentile([7.0], 0.01) == 7
    assert percentile([1.0, 2.0, 3.0], 0.0) == 1
    with pytest.raises(ValueError, match="no value"):
        percentile([], 0.5)


@given(st.lists(st.floats(0, 1e6), min_size=1).map(sorted), st.floats(0.001, 1))
def test_enough_values_are_at_or_below_it(values: list[float], share: float) -> None:
    found = percentile(values, share)
    at_or_below = sum(value <= found for value in values)
    below = sum(value < found for value in values)
    assert at_or_below >= share * len(values) - 1e-9
    assert below < share * len(values) + 1e-9


def test_the_middle_agrees_with_the_library() -> None:
    values = [float(n * n) for n in range(101)]
    assert percentile(values, 0.5) == quantiles(values, n=2, method="inclusive")[0]


def test_a_rate_counts_the_steps_between_events() -> None:
    assert rate([0, SECOND // 2, SECOND]) == 2
    assert rate([5]) == 0
    assert rate([5, 5]) == 0


def test_events_by_second() -> None:
    times = [10 * SECOND + n * SECOND // 4 for n in range(10)]
    assert by_second(times, 10 * SECOND) == [4, 4, 2]
    assert by_second(times, 10 * SECOND, step=0.5) == [4, 4, 4, 4, 4]
    # What came before is not reported, an empty second is.
    assert by_second([9 * SECOND, 12 * SECOND], 10 * SECOND) == [0, 0, 1]


@pytest.mark.parametrize(
    ("runs", "baseline", "bound", "verdict"),
    [
        ([9, 20, 10], [10], Bound(1.0, 1.8), "reach"),
        ([18], [10], Bound(1.0, 1.8), "aim"),
        ([9], [10], Bound(1.0, 1.8), "missed"),
        ([3], [2], Bound(2, 1.5, better="less"), "aim"),
        ([5], [2], Bound(2, 1.5, better="less"), "missed"),
        ([5], [], Bound(6, 2, of_baseline=False, better="less"), "reach"),
        ([5], [], Bound(5, of_baseline=False, better="less"), "reach"),
        ([5], [], Bound(2), ""),
        ([5], [5], None, ""),
        ([math.inf], [1], Bound(2, better="less"), "missed"),
    ],
)
def test_what_has_to_be_reached(
    runs: list[float], baseline: list[float], bound: Bound | None, verdict: str
) -> None:
    assert Figure("w", "n", "/s", runs, baseline, bound=bound).verdict == verdict


def test_what_never_came_has_no_number() -> None:
    figure = Figure("w", "n", "ms", [math.inf], [1.0])
    assert figure.as_json()["value"] is None
    assert figure.as_json()["runs"] == [None]


def test_a_figure_is_the_median_of_its_runs() -> None:
    figure = Figure("w", "n", "/s", [1, 100, 3], [2, 2, 900], "(a)", Bound(1.0, 2.0), lost=1)
    assert (figure.value, figure.base, figure.ratio) == (3, 2, 1.5)
    made = figure.as_json()
    assert made["runs"] == [1, 100, 3]
    assert made["verdict"] == "reach"
    assert made["lost"] == 1
