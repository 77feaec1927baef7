"""The short form of ``make faults``: each fault once, under load, and the whole account."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from tests.faults.faults import ENOUGH
from tests.faults.report import describe
from tests.faults.run import Plan, run
from tests.faults.suite import Shape


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "script",
    [
        ("kill_one", "refuse", "postgres", "kill_one", "garbage", "cut_all", "kill_all"),
        ("stall_watch", "kill_one", "hang", "stop_one", "reset", "hand_over", "kill_one"),
    ],
    ids=["killed, cut, restarted", "stalled, stopped, handed over"],
)
async def test_every_change_is_accounted_for(script: tuple[str, ...], tmp_path: Path) -> None:
    told: list[str] = []
    shape = Shape(companies=4, webhooks=32)
    plan = Plan(seed=7, seconds=0, script=script, shape=shape, steady=1, backlog=2000)
    result = await run(plan, tmp_path, told.append)
    console = Console(record=True, width=160)
    describe(result, console)
    assert result.clean, console.export_text()
    assert result.account.delivered == result.account.owed > 1000
    assert result.account.rolled_back > 0
    assert result.account.rejected > 0
    assert any(fault.is_kill and fault.in_flight >= ENOUGH for fault in result.faults)
