"""What is costly to read in `cdc serve`: read once, for all requests."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event

import pytest

from cdc.web import recent
from cdc.web.recent import Recent
from tests.web.kit import WITHIN


def test_one_request_at_a_time_makes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    takes = [0.1, 3600.0]
    made: list[int] = []
    go, begun = Event(), Event()
    now = 100.0
    monkeypatch.setattr(recent, "monotonic", lambda: now)

    def make() -> str:
        nonlocal now
        now += takes[len(made)]
        made.append(len(made))
        begun.set()
        assert go.wait(WITHIN)
        return f"number {len(made)}"

    found, together = Recent[str](), Barrier(4)

    def visit() -> str:
        together.wait(WITHIN)
        return found(make)

    with ThreadPoolExecutor(4) as threads:
        visits = [threads.submit(visit) for _ in range(4)]
        go.set()
        assert {one.result(WITHIN) for one in visits} == {"number 1"}  # all waited for the first
        now += 0.1 / recent.SHARE - 0.1
        assert found(make) == "number 1"
        now += 0.2
        go.clear()
        begun.clear()
        slow = threads.submit(found, make)
        assert begun.wait(WITHIN)
        assert found(make) == "number 1"  # does not wait for it
        go.set()
        assert slow.result(WITHIN) == "number 2"
    now += recent.KEPT_S - 0.1
    assert found(make) == "number 2"
    now += 0.2
    with pytest.raises(IndexError):
        found(make)
    assert len(made) == 2


def test_what_raises_is_made_again() -> None:
    results: list[Exception | None] = [ConnectionError(), None]

    def make() -> list[int]:
        if (error := results.pop(0)) is not None:
            raise error
        return []

    found = Recent[list[int]]()
    with pytest.raises(ConnectionError):
        found(make)
    assert found(make) == []
