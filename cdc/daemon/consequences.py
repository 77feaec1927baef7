"""What attempts mean for people: the state that is kept of a lane, suspension, lines in the log."""

from __future__ import annotations

import asyncio
import time

from cdc.daemon.store.records import KeepLane, Suspend
from cdc.daemon.store.settle import Settler
from cdc.daemon.worker import Worker
from cdc.deliver import Client, Crowded, Unable, Withheld
from cdc.lanes import BreakerState, Decision
from cdc.model import THIS_MACHINE, UNUSABLE, Answer, Delivery, Outcome
from cdc.settings.kinds import DAY
from cdc.telemetry import Observer

BUSY_LOGGED_AFTER_S = 60.0
"""A receiver that asks for a longer wait is named in the log; a short one is usual."""
FAILING_KEPT_AFTER_S = 900.0
"""Failing for this time is kept, however few the attempts; a notice says so."""
UNABLE_PAUSE_S = 1.0
"""Between two attempts that this machine cannot make."""


class Consequences:
    """Of attempts that have ended, and of those that could not be made.

    suspend_after_s: failing for this time suspends a webhook.
    """

    def __init__(
        self, client: Client, settler: Settler, observer: Observer, suspend_after_s: float
    ) -> None:
        self._client = client
        self._settler = settler
        self._observer = observer
        self._suspend_after_s = suspend_after_s

    def of(self, worker: Worker, outcome: Outcome, decision: Decision, now: float) -> None:
        """An attempt has ended so."""
        was_unable = worker.unable
        if was_unable:
            worker.unable, worker.last_error = False, None
        lane = worker.lane
        if not decision.outdated:
            worker.succeeding = outcome.answer is Answer.SUCCESS
        another = False  # another cause while the breaker is open: one attempt at a time
        if outcome.error is not None and not decision.outdated:
            is_open = lane.breaker is not BreakerState.CLOSED
            another = is_open and worker.last_error != outcome.error
            worker.last_error = outcome.error
            self._failing(worker, decision, outcome, now)
        elif worker.logged_busy:
            worker.logged_busy = False
            self._observer.busy_no_more(worker.webhook.id)
        if decision.transition is not None:
            self._observer.breaker(
                worker.webhook.id, decision.transition.opened, decision.transition.reason
            )
        if (
            was_unable
            or decision.transition is not None
            or decision.slowed
            or another
            or (not worker.noted and lane.failing_for(now) >= FAILING_KEPT_AFTER_S)
            or (worker.noted and outcome.answer in (Answer.SUCCESS, Answer.ABORTED))
        ):
            self.keep(worker)

    async def not_sent(
        self, worker: Worker, delivery: Delivery, reason: Withheld | Crowded | Unable
    ) -> None:
        """Nothing was sent, which says nothing about the receiver: the delivery is ready again."""
        try:
            if isinstance(reason, Crowded):
                self._observer.crowded(self._client.open)
            elif isinstance(reason, Unable):
                self._unable(worker, str(reason))
                await asyncio.sleep(UNABLE_PAUSE_S)
        finally:
            worker.lane.abandon(delivery)

    def keep(self, worker: Worker) -> None:
        """Has the lane's state kept for people and for the next owner."""
        worker.noted = worker.lane.kept(time.monotonic()).failing_for is not None
        self._settler.submit(KeepLane(worker.lane, worker.acknowledged, worker.last_error))

    def _unable(self, worker: Worker, lacking: str) -> None:
        self._observer.unable(lacking, self._client.open)
        if not worker.unable:
            worker.unable = True
            worker.last_error = f"{UNUSABLE}{THIS_MACHINE}: {lacking}"
            self.keep(worker)

    def _failing(self, worker: Worker, decision: Decision, outcome: Outcome, now: float) -> None:
        lane = worker.lane
        if lane.failures == 1:
            self._observer.failing(worker.webhook.id, outcome)
        elif (
            not lane.failures
            and not worker.logged_busy
            and lane.failing_for(now) >= BUSY_LOGGED_AFTER_S
        ):
            worker.logged_busy = True
            self._observer.busy(worker.webhook.id, outcome, lane.failing_for(now))
        if decision.suspend:
            self._suspend(worker, f"the receiver {outcome.detail}")
        elif not lane.paused and lane.failing_for(now) >= self._suspend_after_s:
            days = self._suspend_after_s / DAY
            lane.pause()
            self._suspend(worker, f"failing for {days:g} days without one success")

    def _suspend(self, worker: Worker, reason: str) -> None:
        self._observer.suspended(worker.webhook.id, reason)
        self._settler.submit(Suspend(worker.lane, reason, worker.webhook.version))
