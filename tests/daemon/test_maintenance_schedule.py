"""When a daemon's care does what: at once, at its intervals, and without a session for nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from cdc.daemon.maintenance import Maintenance, drop_removed, late_capture, schedule
from cdc.daemon.maintenance.measure import Measure
from cdc.daemon.store.statistics import Statistics
from cdc.model import Span
from cdc.telemetry import Observer
from tests.daemon.running import Log


class Lanes:
    """What the daemon owns, as the test says."""

    def __init__(self) -> None:
        self.gone: list[int] = []
        self.owned: list[int] = [1]

    def removed(self) -> list[int]:
        return self.gone

    def dropped(self, webhook_id: int) -> None: ...

    def missing(self, webhook_id: int, delivery_id: int, uid: str) -> bool:
        return False

    def noticed(self, webhook_id: int, where: Span) -> None: ...

    def touched(self, webhook_ids: Iterable[int]) -> None: ...

    def shards(self) -> list[int]:
        return self.owned

    def epochs(self) -> Mapping[int, int]:
        return dict.fromkeys(self.shards(), 1)

    def succeeding(self) -> list[int]:
        return []


class Rounds:
    """Care whose clock is the test's, and whose rounds are only noted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 10_000.0
        self.done: list[list[str]] = []
        self.lanes = Lanes()
        self.task: asyncio.Task[None] | None = None
        self._passed = asyncio.Event()
        self.unfinished: set[str] = set()
        self.maintenance = Maintenance("", Observer(log=Log()), 14, 14, 14, 5)

        async def session(*_: object) -> Any:
            self.done.append([])
            return SimpleNamespace(close=self._closed)

        def noting(name: str) -> Any:
            async def run_once(*args: object) -> bool:
                self.done[-1].append(f"{name} {args[1]}" if name == "removed" else name)
                return name not in self.unfinished

            return run_once

        async def unseen(*_: object) -> None: ...

        quick = SimpleNamespace(timeout=lambda _: asyncio.timeout(0.01), sleep=asyncio.sleep)
        monkeypatch.setattr(schedule, "asyncio", quick)
        monkeypatch.setattr(schedule, "time", SimpleNamespace(monotonic=self._read))
        monkeypatch.setattr(schedule, "open_session", session)
        monkeypatch.setattr(Statistics, "refresh", unseen)
        monkeypatch.setattr(Measure, "run_once", noting("measure"))
        monkeypatch.setattr(drop_removed, "run_once", noting("removed"))
        monkeypatch.setattr(late_capture, "run_once", noting("unresolved"))
        for name in ("sweep", "notices", "expire", "prune"):
            monkeypatch.setattr(getattr(schedule, name), "run_once", noting(name))

    def _read(self) -> float:
        self._passed.set()
        return self.now

    async def _closed(self) -> None: ...

    async def later(self, seconds: float) -> list[list[str]]:
        """What is done when so much time has passed, by session."""
        self.done.clear()
        self.now += seconds
        if self.task is None:
            self.task = asyncio.create_task(self.maintenance.run(self.lanes))
        # Reading the clock is what a pass begins with: after the second one the first is over.
        for _ in range(2):
            self._passed.clear()
            await self._passed.wait()
        return list(self.done)


@pytest.fixture
async def maintenance(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rounds]:
    made = Rounds(monkeypatch)
    yield made
    assert made.task is not None
    made.task.cancel()
    await asyncio.gather(made.task, return_exceptions=True)


async def test_each_has_its_interval(maintenance: Rounds) -> None:
    assert await maintenance.later(0) == [["measure", "expire", "prune"]]
    assert await maintenance.later(4.9) == []
    assert await maintenance.later(10.2) == [["measure"]]
    assert await maintenance.later(45) == [["measure", "sweep", "notices"]]
    assert await maintenance.later(600) == [["measure", "sweep", "notices", "expire", "prune"]]


async def test_removed_webhooks_are_dropped_soon_and_cost_nothing_where_there_are_none(
    maintenance: Rounds,
) -> None:
    await maintenance.later(0)
    assert await maintenance.later(6) == []
    maintenance.lanes.gone = [7, 8]
    assert await maintenance.later(4) == [], "asked 4 seconds ago"
    assert await maintenance.later(2) == [["removed 7", "removed 8"]]


async def test_without_shards_nothing_is_measured(maintenance: Rounds) -> None:
    maintenance.lanes.owned = []
    await maintenance.later(0)
    assert await maintenance.later(16) == []
    maintenance.lanes.owned = [3]
    assert await maintenance.later(0) == [["measure"]]


async def test_what_can_be_captured_late_is_so_at_once_and_once(maintenance: Rounds) -> None:
    await maintenance.later(0)
    maintenance.maintenance.resolve_soon()
    assert await maintenance.later(0) == [["unresolved"]]
    assert await maintenance.later(0) == []
    maintenance.maintenance.resolve_soon()
    assert await maintenance.later(16) == [["measure", "unresolved"]], (
        "it is the last of its session"
    )


async def test_much_to_drop_or_to_expire_does_not_hold_up_late_capture(
    maintenance: Rounds,
) -> None:
    """Each stops after its turn, and continues in the next round."""
    maintenance.unfinished = {"removed", "expire"}
    maintenance.lanes.gone = [7]
    first = [["removed 7", "measure", "expire", "prune"]]
    assert (await maintenance.later(6))[:1] == first
    maintenance.maintenance.resolve_soon()
    assert ["removed 7", "expire", "unresolved"] in await maintenance.later(0)
    maintenance.unfinished.clear()
    await maintenance.later(0)
    assert await maintenance.later(0) == []
