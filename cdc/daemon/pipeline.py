"""Read this first: the road of one delivery, and how lanes are kept going.

look -> fetch -> [ translate -> seal -> post -> decide -> settle ]
tenure   dispatch  ------------------ here -------------------
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from cdc.daemon.store.records import KeepLane, Settled, Suspend
from cdc.daemon.store.settle import Settler
from cdc.daemon.worker import Worker
from cdc.deliver import Client, Crowded, Unable, Withheld
from cdc.lanes import BreakerState, Decision
from cdc.message.payload import Translator, Untranslatable
from cdc.model import THIS_MACHINE, UNUSABLE, Answer, Delivery, Outcome
from cdc.telemetry import Observer

DAY = 86_400.0
# Seconds that a receiver may ask to be left alone before the log names it; a few are as usual.
BUSY_TOLD = 60.0
UNABLE_PAUSE = 1.0  # seconds between two attempts that this machine cannot make


@dataclass(slots=True)
class Pipeline:
    """Carries deliveries from their lane to their settlement.

    may_send: whether we are still sure to own what we send (asked immediately before each POST).
    """

    translator: Translator
    client: Client
    settler: Settler
    observer: Observer
    may_send: Callable[[], bool]
    suspend_after: float = 5 * DAY

    async def carry(self, worker: Worker, delivery: Delivery) -> None:
        """One attempt, from the row to its record. A cancelled one leaves no outcome."""
        sealer = worker.sealer
        try:
            if sealer is None or not self.may_send():
                worker.lane.abandon(delivery)
                return
            try:
                if delivery.body is None:
                    delivery.body = self.translator.body(delivery, sealer.url)
            except Untranslatable as error:
                self.observer.untranslatable(delivery, error)
                detail = f"{error.message}. {error.hint}"
                outcome = Outcome(Answer.FAILURE, None, "mapping", detail, 0.0)
            else:
                request = sealer.seal(delivery, delivery.body, int(time.time()))
                outcome = await self.client.post(request)
        except Withheld:
            worker.lane.abandon(delivery)
            return
        except Crowded:
            self.observer.crowded(self.client.open)
            worker.lane.abandon(delivery)
            return
        except Unable as error:
            self._unable(worker, str(error))
            try:
                await asyncio.sleep(UNABLE_PAUSE)
            finally:
                worker.lane.abandon(delivery)
            return
        except asyncio.CancelledError:
            worker.lane.abandon(delivery)
            raise
        self.decided(worker, delivery, outcome)

    def decided(self, worker: Worker, delivery: Delivery, outcome: Outcome) -> None:
        """The attempt has ended: let the lane decide, and hand the effects to the settler."""
        now = time.monotonic()
        delivery.tries += 1
        if worker.unable:
            worker.unable, worker.last_error = False, None
            self.keep(worker)
        lane = worker.lane
        decision = lane.finish(delivery, outcome, now)
        self.observer.attempted(delivery, outcome, type(decision.settlement).__name__)
        self.settler.submit(Settled(lane, delivery, outcome, decision, now))
        another = False  # another cause while the breaker is open: one attempt at a time
        if outcome.error is not None and not decision.outdated:
            is_open = lane.breaker is not BreakerState.CLOSED
            another = is_open and worker.last_error != outcome.error
            worker.last_error = outcome.error
            self._failing(worker, decision, outcome, now)
        elif worker.told_busy:
            worker.told_busy = False
            self.observer.busy_no_more(worker.webhook.id)
        self.settler.park(lane, decision.park)
        if decision.transition is not None:
            self.observer.breaker(
                worker.webhook.id, decision.transition.opened, decision.transition.reason
            )
        if (
            decision.transition is not None
            or decision.slowed
            or another
            or (worker.noted and outcome.answer is Answer.SUCCESS)
        ):
            self.keep(worker)

    def keep(self, worker: Worker) -> None:
        """Has the lane's state kept for people and for the next owner."""
        worker.noted = worker.lane.kept(time.monotonic()).failing_for is not None
        self.settler.submit(KeepLane(worker.lane, worker.acknowledged, worker.last_error))

    def _unable(self, worker: Worker, lacking: str) -> None:
        self.observer.unable(lacking, self.client.open)
        if not worker.unable:
            worker.unable = True
            worker.last_error = f"{UNUSABLE}{THIS_MACHINE}: {lacking}"
            self.keep(worker)

    def _failing(self, worker: Worker, decision: Decision, outcome: Outcome, now: float) -> None:
        lane = worker.lane
        if lane.failures == 1:
            self.observer.failing(worker.webhook.id, outcome)
        elif not lane.failures and not worker.told_busy and lane.failing_for(now) >= BUSY_TOLD:
            worker.told_busy = True
            self.observer.busy(worker.webhook.id, outcome, lane.failing_for(now))
        if decision.suspend:
            self._suspend(worker, "the receiver answered 410 Gone")
        elif not lane.paused and lane.failing_for(now) >= self.suspend_after:
            days = self.suspend_after / DAY
            lane.pause()
            self._suspend(worker, f"failing for {days:g} days without one success")

    def _suspend(self, worker: Worker, reason: str) -> None:
        self.observer.suspended(worker.webhook.id, reason)
        self.settler.submit(Suspend(worker.lane, reason, worker.webhook.version))
