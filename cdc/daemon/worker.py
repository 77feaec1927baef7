"""What the daemon keeps about one webhook: its registration, its lane, its seal."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from cdc.daemon.store.session import Connection, run
from cdc.lanes import Capacity, Kept, Lane, LaneRules, Rest
from cdc.message.signing import Sealer
from cdc.model import ResourceKey, Webhook, WebhookState
from cdc.settings import Settings

UNUSABLE_RETRY_S = 30.0  # seconds until a registration that cannot be used is tried again
BLOCKED_BATCH_RESOURCES = 2_000  # resources that one query brings


@dataclass(slots=True, eq=False)
class Worker:
    """One webhook inside the daemon.

    sealer:  None while the registration cannot be used (no secret, say): the lane is held then.
    secrets_until: loop time at which a rotated secret runs out, or None.
    tasks:   the attempts in flight.
    logged_busy: the log says that its receiver wants to be left alone.
    unable:  cdc.lane says that this machine cannot connect.
    noted:   cdc.lane says that it is failing: to be corrected at the first success.
    succeeding: the last attempt was a success.
    receiver: whom the lane's state is about (``Sealer.receiver``); None: not known yet.
    closing: handed over or removed: nothing new is started.
    """

    webhook: Webhook
    lane: Lane
    sealer: Sealer | None
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    timer: asyncio.TimerHandle | None = None
    reload: asyncio.TimerHandle | None = None
    acknowledged: int = 0
    last_error: str | None = None
    logged_busy: bool = False
    unable: bool = False
    noted: bool = False
    succeeding: bool = False
    receiver: int | None = None
    closing: bool = False

    @property
    def removed(self) -> bool:
        return self.webhook.state is WebhookState.REMOVED

    @property
    def may_rest(self) -> bool:
        """Its registration says whether it is held. (After 410 a lane pauses itself, and the
        registration says so only later.)"""
        said = self.lane.paused is (self.webhook.state is not WebhookState.ACTIVE)
        return not self.closing and (said or self.sealer is None)

    def resting(self, now: float) -> Resting | None:
        """Ends its lane. What is to be known when it is opened again; None: nothing."""
        rest = self.lane.let_go(now)
        if self.sealer is None and self.webhook.state is WebhookState.ACTIVE:
            rest = replace(rest, wake=now + UNUSABLE_RETRY_S)
        if rest == Rest(None, None, None) and not self.noted and not self.logged_busy:
            return None
        known = (self.webhook.version, self.acknowledged, self.last_error)
        return Resting(rest, *known, self.logged_busy, self.noted, self.receiver)

    def close(self) -> None:
        self.closing = True
        for handle in (self.timer, self.reload):
            if handle is not None:
                handle.cancel()
        self.timer = self.reload = None


@dataclass(frozen=True, slots=True)
class Resting:
    """What is known of a webhook whose worker was closed because others need the memory."""

    lane: Rest
    version: int
    acknowledged: int
    last_error: str | None
    logged_busy: bool
    noted: bool
    receiver: int | None = None


@dataclass(frozen=True, slots=True)
class ActiveRegistration:
    """A webhook as loaded.

    secrets_for: seconds until its oldest secret runs out, or None.
    kept:    what the last owner of the lane kept, and its last error.
    due_in:  seconds until the first retry, or None.
    blocked: resources that are being retried; False: the first of its rows has no time.
    """

    webhook: Webhook
    secrets_for: float | None
    kept: Kept | None = None
    error: str = ""
    due_in: float | None = None
    blocked: tuple[tuple[ResourceKey, bool], ...] = ()


def rules_of(webhook: Webhook, settings: Settings) -> LaneRules:
    """The numbers this webhook's lane goes by."""
    return LaneRules(
        window=settings.window,
        cap=webhook.cap,
        rate=webhook.rate,
        schedule=tuple(settings.retry_schedule),
        jitter=settings.retry_jitter,
        retry_after_cap=settings.retry_after_cap,
        breaker_failures=settings.breaker_failures,
        first_probe=settings.breaker_first_probe,
        max_probe=settings.breaker_max_probe,
    )


def open_worker(
    webhook: Webhook,
    resting: Resting | None,
    settings: Settings,
    random: Random,
    capacity: Capacity,
) -> Worker:
    """A worker for a webhook that has none; it gets its sealer with the registration."""
    limits = None if resting is None else resting.lane.limits
    worker = Worker(
        webhook, Lane(webhook.id, rules_of(webhook, settings), random, capacity, limits), None
    )
    if resting is not None:
        worker.acknowledged = resting.acknowledged
        worker.last_error = resting.last_error
        worker.logged_busy = resting.logged_busy
        worker.noted = resting.noted
        worker.receiver = resting.receiver
    return worker


async def load(
    conn: Connection, webhook_ids: Collection[int], new: Collection[int]
) -> list[ActiveRegistration]:
    """Registrations by id; those that do not exist are left out.

    new: those of them that have no worker yet.
    """
    rows = await run(conn, "webhooks", [list(webhook_ids)])
    retried = [row[0] for row in rows if row[-1] and row[0] in new]
    blocked = await _blocked(conn, retried)
    return [_registration(row, tuple(blocked.get(row[0], ()))) for row in rows]


async def _blocked(
    conn: Connection, webhook_ids: list[int]
) -> dict[int, list[tuple[ResourceKey, bool]]]:
    """The resources of these webhooks that are being retried."""
    found: dict[int, list[tuple[ResourceKey, bool]]] = {}
    event, key = "", ""
    while webhook_ids:
        rows = await run(conn, "blocked", [webhook_ids, event, key, BLOCKED_BATCH_RESOURCES])
        for webhook_id, event, key, has_time in rows:
            found.setdefault(webhook_id, []).append((ResourceKey(event, key), has_time))
        if len(rows) < BLOCKED_BATCH_RESOURCES:
            break
        webhook_ids = webhook_ids[webhook_ids.index(rows[-1][0]) :]
    return found


def _registration(
    row: tuple[Any, ...], blocked: tuple[tuple[ResourceKey, bool], ...]
) -> ActiveRegistration:
    number, company, endpoint, state, version, cap, rate, headers, tls, *more = row
    secrets, secrets_for, failures, failing_for, slow_for, error, due_in, _ = more
    webhook = Webhook(
        id=number,
        company=company,
        endpoint=endpoint,
        state=WebhookState(state),
        version=version,
        secrets=tuple(secrets),
        cap=cap,
        rate=rate,
        headers=dict(headers),
        tls_profile=tls,
    )
    kept = Kept(failures, failing_for, slow_for)
    worth = failures or failing_for is not None or slow_for
    return ActiveRegistration(webhook, secrets_for, kept if worth else None, error, due_in, blocked)
