"""What is logged again and again: once, then ever more rarely."""

from __future__ import annotations

from itertools import pairwise

from cdc.telemetry import Observer
from cdc.telemetry.repeats import REPEAT_FIRST_S, REPEAT_LONGEST_S, Repeats
from tests.daemon.running import Log

HOUR = 3600


def test_an_hour_of_the_same_error_is_a_handful_of_lines() -> None:
    now = 0.0
    log = Log()
    observer = Observer(log=log, repeats=Repeats(lambda: now))
    logged_at = []
    for second in range(0, HOUR, 2):
        now = float(second)
        before = len(log.lines)
        observer.connection_lost(ConnectionError("refused"), 2.0)
        if len(log.lines) > before:
            logged_at.append(second)
    assert logged_at[:4] == [0, 10, 30, 70]
    assert len(logged_at) < 15
    pauses = [b - a for a, b in pairwise(logged_at)]
    assert pauses == sorted(pauses)
    assert pauses[0] >= REPEAT_FIRST_S
    assert pauses[-1] <= REPEAT_LONGEST_S + 2
    assert log.lines[0].values == {"error": "refused", "again_in": 2.0}
    assert sum(line.values.get("left_out", 0) + 1 for line in log.lines) <= HOUR / 2
    assert log.lines[1].values["left_out"] == 4
    assert observer.counts.losses == HOUR / 2


def test_another_error_and_what_comes_after_success_are_news() -> None:
    log = Log()
    observer = Observer(log=log, repeats=Repeats(lambda: 0.0))
    for _ in range(3):
        observer.connection_lost(ConnectionError("refused"), 1.0)
        observer.connection_lost(ConnectionError("reset"), 1.0)
        observer.care_failed("sweep", ConnectionError("refused"))
    assert len(log.lines) == 3
    observer.connected(64, 0)
    observer.connection_lost(ConnectionError("refused"), 1.0)
    assert len(log.all("connection lost")) == 3


def test_what_is_remembered_is_bounded() -> None:
    repeats = Repeats(lambda: 0.0)
    for number in range(10_000):
        assert repeats.worth("lost", str(number)) == 0
    assert len(repeats._lines) <= 100
