"""Read this first: the path of a change, from the look that finds its row to its POST's record.

    look      which webhooks have rows that were not there before?       the watcher
    fetch     the next rows of their lanes, in order                     the dispatcher
    payload   row -> body                               |
    sign      body -> request                           |                a task for each attempt
    post      request -> outcome                        |                in flight, which the
    decide    outcome -> decision, by the lane's rules  |                dispatcher starts
    record    decision -> one fenced transaction, in batches             the settler

Each step is a method below, in this order; ``permit`` comes before the payload. Between fetch and
payload a delivery waits in its lane (cdc/lanes) until order, concurrency, rate limit and breaker
let it start; once it is recorded it returns there (``Dispatcher.recorded``).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from cdc.daemon.consequences import Consequences
from cdc.daemon.lease import Lease
from cdc.daemon.store.fill import Filler
from cdc.daemon.store.look import Looker, Seen
from cdc.daemon.store.records import Settled
from cdc.daemon.store.settle import Settler
from cdc.daemon.worker import Worker
from cdc.deliver import Client, Crowded, Unable, Withheld
from cdc.lanes import Decision, Lane
from cdc.message.payload import Translator, Untranslatable
from cdc.message.signing import Sealer
from cdc.model import Answer, Delivery, Outcome, Request
from cdc.telemetry import Observer


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The steps; one for all webhooks of a daemon."""

    translator: Translator
    client: Client
    settler: Settler
    observer: Observer
    lease: Lease
    consequences: Consequences

    async def attempt(self, worker: Worker, delivery: Delivery) -> None:
        """One attempt, from the row to its record. A cancelled one leaves no outcome."""
        try:
            sealer = self.permit(worker)
            body = self.payload(delivery, sealer)
            request = self.sign(delivery, sealer, body)
            outcome = await self.post(request)
        except Untranslatable as error:
            outcome = self.no_payload(delivery, error)
        except (Withheld, Crowded, Unable) as reason:
            await self.consequences.not_sent(worker, delivery, reason)
            return
        except asyncio.CancelledError:
            worker.lane.abandon(delivery)
            raise
        now = time.monotonic()
        decision = self.decide(worker, delivery, outcome, now)
        self.record(worker, delivery, outcome, decision, now)

    # -- for many lanes at once -------------------------------------------------------------------

    async def look(self, looker: Looker, *, arm: bool | None, fleet: bool) -> Seen:
        """Rows that came since the last look: few are brought along, of many where they lie."""
        return await looker.look(arm=arm, fleet=fleet, shards=self.lease.shards)

    async def glance(self, looker: Looker) -> Seen | None:
        """A cheaper look, for new rows only. None: many came, so a full look is needed."""
        return await looker.glance()

    async def fetch(self, filler: Filler, lanes: Sequence[Lane], share: int) -> None:
        """Brings lanes the rows they have room for, ``share`` places at most, and due retries."""
        await filler.fill(lanes, share, self.lease.snapshot)

    # -- for one delivery -------------------------------------------------------------------------

    def permit(self, worker: Worker) -> Sealer:
        """Raises Withheld unless the webhook is ours for sure, and its registration can be used."""
        if worker.sealer is None or not self.lease.may_send():
            raise Withheld
        return worker.sealer

    def payload(self, delivery: Delivery, sealer: Sealer) -> bytes:
        """The bytes that all attempts of this delivery send. Raises Untranslatable."""
        if delivery.body is None:
            delivery.body = self.translator.body(delivery, sealer.url)
        return delivery.body

    def sign(self, delivery: Delivery, sealer: Sealer, body: bytes) -> Request:
        return sealer.seal(delivery, body, int(time.time()))

    async def post(self, request: Request) -> Outcome:
        """A receiver that fails is an outcome. Withheld, Crowded, Unable: nothing was sent."""
        return await self.client.post(request)

    def no_payload(self, delivery: Delivery, error: Untranslatable) -> Outcome:
        """The row has no payload: a failed attempt, so that it is retried, and shown."""
        self.observer.untranslatable(delivery, error)
        return Outcome(Answer.FAILURE, None, "mapping", f"{error.message}. {error.hint}", 0.0)

    def decide(self, worker: Worker, delivery: Delivery, outcome: Outcome, now: float) -> Decision:
        """The lane decides: delivered, retried or dead, and what else follows from it."""
        delivery.tries += 1
        decision = worker.lane.finish(delivery, outcome, now)
        self.observer.attempted(delivery, outcome, type(decision.settlement).__name__)
        return decision

    def record(
        self,
        worker: Worker,
        delivery: Delivery,
        outcome: Outcome,
        decision: Decision,
        now: float,
    ) -> None:
        """Hands all of it to the settler."""
        self.settler.submit(Settled(worker.lane, delivery, outcome, decision, now))
        self.settler.park(worker.lane, decision.park)
        self.consequences.of(worker, outcome, decision, now)
