"""Brings lanes the rows they have room for, and the retries that are due."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from cdc.daemon.lease import Snapshot
from cdc.daemon.store.fetch import Fetcher
from cdc.daemon.store.settle import Settler
from cdc.lanes import DuePlan, FetchPlan, Lane

FETCH_STEP_WITHIN_S = 2.0
"""Seconds after which a step of reading is given up, and a smaller one made."""


@dataclass(frozen=True, slots=True)
class Filler:
    """Plan, read, take: for many lanes by one statement each. What has to be parked is submitted.

    A lane may be handed over while its rows are read; it takes them all the same.
    """

    fetcher: Fetcher
    settler: Settler

    async def fill(self, lanes: Sequence[Lane], share: int, snapshot: Snapshot) -> None:
        """share: places that one lane may fill at most.  snapshot: the newest look's."""
        now = time.monotonic()
        plans = [(lane, lane.plan_fetch(share), lane.plan_due(now)) for lane in lanes]
        queued = [(lane, plan) for lane, plan, _ in plans if plan is not None]
        await self._queue([(lane, plan) for lane, plan in queued if plan.end is None], snapshot)
        for lane, plan in queued:
            if plan.end is not None:
                await self._step(lane, plan, snapshot)
        await self._due([(lane, due) for lane, _, due in plans if due is not None])

    async def _queue(self, plans: Sequence[tuple[Lane, FetchPlan]], snapshot: Snapshot) -> None:
        if not plans:
            return
        found = await self.fetcher.fetch({lane.webhook_id: plan for lane, plan in plans}, snapshot)
        for lane, plan in plans:
            window = found[lane.webhook_id]
            self.settler.park(lane, lane.fetched(plan, window.rows, window.created))

    async def _step(self, lane: Lane, plan: FetchPlan, snapshot: Snapshot) -> None:
        window = await self.fetcher.step(lane.webhook_id, plan, snapshot, FETCH_STEP_WITHIN_S)
        if window is None:
            lane.fetch_failed(plan)
            lane.stepped(done=False)
        else:
            lane.stepped(done=True)
            self.settler.park(lane, lane.fetched(plan, window.rows, window.created))

    async def _due(self, plans: Sequence[tuple[Lane, DuePlan]]) -> None:
        if not plans:
            return
        found = await self.fetcher.due({lane.webhook_id: plan for lane, plan in plans})
        now = time.monotonic()
        for lane, plan in plans:
            due = found[lane.webhook_id]
            next_due = None if due.next_in is None else now + due.next_in
            self.settler.park(lane, lane.take_due(plan, due.rows, next_due))
