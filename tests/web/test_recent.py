"""The doctor's checks in `cdc serve`: made once, for all requests."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event
from typing import cast

import pytest

from cdc.diagnosis.doctor.check import Patient
from cdc.diagnosis.health import HealthProblem
from cdc.web import recent
from cdc.web.recent import Recent
from tests.web.kit import WITHIN

NO_ONE = cast(Patient, None)


def test_one_request_at_a_time_makes_the_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    go, begun = Event(), Event()

    def failed(_: Patient) -> list[HealthProblem]:
        made.append(len(made))
        begun.set()
        assert go.wait(WITHIN)
        return [HealthProblem(f"number {len(made)}", "")]

    now = 100.0
    monkeypatch.setattr(recent, "monotonic", lambda: now)
    checks, together = Recent(failed), Barrier(4)

    def visit() -> str:
        together.wait(WITHIN)
        return checks(NO_ONE)[0].text

    with ThreadPoolExecutor(4) as threads:
        visits = [threads.submit(visit) for _ in range(4)]
        go.set()
        assert {one.result(WITHIN) for one in visits} == {"number 1"}  # all waited for the first
        now += recent.KEPT_S - 0.1
        assert checks(NO_ONE)[0].text == "number 1"
        now += 0.2
        go.clear()
        begun.clear()
        slow = threads.submit(checks, NO_ONE)
        assert begun.wait(WITHIN)
        assert checks(NO_ONE)[0].text == "number 1"  # does not wait for them
        go.set()
        assert slow.result(WITHIN)[0].text == "number 2"
    assert len(made) == 2


def test_checks_that_raise_are_made_again() -> None:
    results: list[Exception | None] = [ConnectionError(), None]

    def failed(_: Patient) -> list[HealthProblem]:
        if (error := results.pop(0)) is not None:
            raise error
        return []

    checks = Recent(failed)
    with pytest.raises(ConnectionError):
        checks(NO_ONE)
    assert checks(NO_ONE) == []
