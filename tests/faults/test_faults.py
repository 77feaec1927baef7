"""The short form of ``make faults``: each fault once, under load, and the whole account."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from rich.console import Console

from tests.faults import ledger
from tests.faults.again import hooks_of
from tests.faults.faults import ENOUGH
from tests.faults.report import describe
from tests.faults.run import Plan, run
from tests.faults.suite import CAPTURED_WHEN_DELETED, Shape

SCRIPT = (
    *("kill_one", "refuse", "postgres", "garbage", "cut_all", "stall_watch"),
    *("hang", "kill_all", "stop_one", "reset", "hand_over", "kill_one"),
)


@pytest.mark.timeout(300)
async def test_every_change_is_accounted_for(tmp_path: Path) -> None:
    reported: list[str] = []
    shape = Shape(companies=4, webhooks=32)
    plan = Plan(seed=7, seconds=0, script=SCRIPT, shape=shape, steady=1, backlog=2000)
    result = await run(plan, tmp_path, reported.append)
    console = Console(record=True, width=160)
    describe(result, console)
    assert result.clean, console.export_text()
    assert result.account.delivered == result.account.owed > 1000
    assert result.account.rolled_back > 0
    assert result.account.rejected > 0
    changes = list(ledger.read(tmp_path / "ledger.jsonl"))
    hooks = hooks_of(orjson.loads((tmp_path / "run.json").read_bytes()))
    for kind in (
        [hook for hook in hooks if hook.became],
        [hook for hook in hooks if hook.deleted and hook.events & {*CAPTURED_WHEN_DELETED}],
    ):
        assert any(hook.wants(c) and c.committed for hook in kind for c in changes)
    assert any(c.action == "deleted" and c.committed for c in changes)
    assert any(fault.is_kill and fault.in_flight >= ENOUGH for fault in result.faults)
