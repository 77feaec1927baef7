"""Tests of webhooks: sent by the daemon that owns the webhook, past lane, queue and log.

`cdc serve` asks for them (``webhooks/trials.py``) and waits for the result; it has no secret and
connects to no endpoint. A look sees those that wait.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from cdc.daemon.lease import Lease
from cdc.daemon.store.session import Connection, open_session, run
from cdc.daemon.worker import load
from cdc.deliver import Client, Crowded, Unable, Withheld
from cdc.errors import CdcError
from cdc.mapping import Mapping
from cdc.message.challenge import Challenge
from cdc.message.payload import Translator
from cdc.message.signing import Sealer
from cdc.message.trial import SENT_WITHIN_S, event_to_test, trial_delivery, trial_result
from cdc.model import UNVERIFIED, Webhook, WebhookState
from cdc.postgres.advisory_locks import TRIAL_LOCKS
from cdc.telemetry import Observer
from cdc.webhooks.vault import Vault

TRIALS_IN_FLIGHT = 10
CLAIM_EVERY_S = 0.25


@dataclass(frozen=True, slots=True)
class _Claimed:
    """A test that is ours. events: the first of them that the mapping has is sent; None: the row
    has another form than ``cdc serve`` writes.

    challenge: it is one, and what its answer must be: "echo" or "accept"."""

    id: UUID
    webhook_id: int
    events: list[str] | None
    challenge: str | None


@dataclass(slots=True)
class Trials:
    """Those of the webhooks that this daemon owns. ``run`` lasts as long as the watcher."""

    url: str
    observer: Observer
    lease: Lease
    client: Client
    mapping: Mapping
    translator: Translator
    vault: Vault
    _soon: asyncio.Event = field(default_factory=asyncio.Event)
    _in_flight: set[asyncio.Task[None]] = field(default_factory=set)
    _kept: Connection | None = None
    _opening: asyncio.Lock = field(default_factory=asyncio.Lock)

    def look_soon(self) -> None:
        """A look has seen some that wait."""
        self._soon.set()

    async def run(self) -> None:
        """Sends them until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    await self._soon.wait()
                    self._soon.clear()
                    try:
                        await self._claim(tasks)
                    except (psycopg.Error, TimeoutError) as error:
                        self.observer.care_failed("test", error)
                    if not self._in_flight:
                        await self._close()
                    await asyncio.sleep(CLAIM_EVERY_S)
        finally:
            await self._close()

    async def _session(self) -> Connection:
        """One for all, as long as there are some: its locks show `cdc serve` that we are at them
        (``webhooks/trials.py``)."""
        async with self._opening:
            if self._kept is None or self._kept.closed:
                self._kept = await open_session(self.url, "test")
            return self._kept

    async def _close(self) -> None:
        conn, self._kept = self._kept, None
        if conn is not None:
            await conn.close()

    async def _claim(self, tasks: asyncio.TaskGroup) -> None:
        """Those above the limit are taken when one has ended."""
        free = TRIALS_IN_FLIGHT - len(self._in_flight)
        if free <= 0 or not self.lease.shards:
            return
        conn, epochs = await self._session(), self.lease.epochs
        asked = [list(epochs), list(epochs.values()), free, SENT_WITHIN_S, TRIAL_LOCKS]
        claimed = [_Claimed(*row[:4]) for row in await run(conn, "trial_claim", asked)]
        if not claimed:
            return
        loaded = await load(conn, {one.webhook_id for one in claimed}, ())
        webhooks = {one.webhook.id: one.webhook for one in loaded}
        for one in claimed:
            task = tasks.create_task(self._carry_out(one, webhooks.get(one.webhook_id)))
            self._in_flight.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._in_flight.discard(task)
        self._soon.set()  # more may wait; if none does, the session is closed

    async def _carry_out(self, one: _Claimed, webhook: Webhook | None) -> None:
        state, result, error, proven = "done", None, None, None
        try:
            if one.events is None:
                raise CdcError("the request in cdc.task is malformed: ask for the test again")
            # A DBA may have deleted its row.
            if webhook is None or webhook.state is WebhookState.REMOVED:
                raise CdcError("the webhook was removed")
            made = await (self._challenged if one.challenge else self._sent)(one, webhook)
            result = Jsonb(made)
            proven = webhook.endpoint if one.challenge and made["ok"] else None
        except CdcError as refused:
            state, error = "failed", refused.message
        except (Withheld, Crowded):
            state, error = "failed", "the daemon could not send it just now: test again"
        except Unable as lacking:
            state, error = "failed", f"the daemon's machine cannot connect: {lacking}"
        try:
            asked = [one.id, state, result, error, proven, UNVERIFIED]
            await run(await self._session(), "trial_end", asked)
        except (psycopg.Error, TimeoutError) as failed:
            self.observer.care_failed("test", failed)
        with suppress(psycopg.Error, TimeoutError):  # with the session the lock has gone, too
            await run(await self._session(), "trial_release", [one.id, TRIAL_LOCKS])

    async def _sent(self, one: _Claimed, webhook: Webhook) -> dict[str, object]:
        """Raises CdcError where no request can be made, Withheld, Crowded or Unable."""
        sealer = self._sealer(webhook)
        event = event_to_test(self.mapping, webhook.id, one.events or ())
        delivery = trial_delivery(self.mapping, webhook, event)
        body = self.translator.body(delivery, sealer.url)
        request = sealer.seal(delivery, body, int(time.time()))
        return trial_result(delivery, await self.client.post(request))

    async def _challenged(self, one: _Claimed, webhook: Webhook) -> dict[str, object]:
        """As ``_sent``. What is to be echoed is made here, and kept nowhere."""
        sealer = self._sealer(webhook)
        asked = Challenge.new(webhook)
        request = sealer.seal(asked.delivery, asked.body(sealer.url), int(time.time()))
        heard: list[bytes] = []
        outcome = await self.client.post(request, heard.append)
        echoed = one.challenge == "accept" or asked.echoed(b"".join(heard))
        return asked.result(outcome, echoed=echoed)

    def _sealer(self, webhook: Webhook) -> Sealer:
        self.client.check_tls(webhook.tls_profile)
        return Sealer(self.vault.opened(webhook))
