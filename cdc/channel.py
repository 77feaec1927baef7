"""What the daemon keeps about one webhook: its registration, its lane, its seal."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from cdc.deliver import Client
from cdc.lanes import Lane, LaneRules, Room
from cdc.queue.session import Connection, run
from cdc.road import Webhook, WebhookState
from cdc.settings import Settings
from cdc.sign import Sealer


@dataclass(slots=True, eq=False)
class Channel:
    """One webhook inside the daemon.

    sealer:  None while the registration cannot be used (no secret, say): the lane is held then.
    secrets_until: loop time at which a rotated secret runs out, or None.
    tasks:   the attempts under way.
    told_busy: the log says that its receiver wants to be left alone.
    noted:   cdc.lane says that it is failing: to be corrected at the first success.
    closing: handed over or removed: nothing new is started.
    client:  of a canary (canary.py): it is sent with a client of its own, and leaves no trace.
    """

    webhook: Webhook
    lane: Lane
    sealer: Sealer | None
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    timer: asyncio.TimerHandle | None = None
    reload: asyncio.TimerHandle | None = None
    acknowledged: int = 0
    last_error: str | None = None
    told_busy: bool = False
    noted: bool = False
    closing: bool = False
    client: Client | None = None

    @property
    def removed(self) -> bool:
        return self.webhook.state is WebhookState.REMOVED

    def close(self) -> None:
        self.closing = True
        for handle in (self.timer, self.reload):
            if handle is not None:
                handle.cancel()
        self.timer = self.reload = None


@dataclass(frozen=True, slots=True)
class Registration:
    """A webhook as loaded; seconds until its oldest secret runs out, or None."""

    webhook: Webhook
    secrets_for: float | None


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


def open_channel(
    registration: Registration, settings: Settings, random: Random, room: Room
) -> Channel:
    """A channel for a webhook that had none; it gets its sealer with the registration."""
    webhook = registration.webhook
    lane = Lane(webhook.id, rules_of(webhook, settings), random, room)
    return Channel(webhook, lane, None)


async def load(conn: Connection, webhook_ids: Iterable[int]) -> list[Registration]:
    """Registrations by id; those that do not exist are left out."""
    return [_registration(row) for row in await run(conn, "webhooks", [list(webhook_ids)])]


def _registration(row: tuple[Any, ...]) -> Registration:
    number, company, endpoint, state, version, cap, rate, headers, tls, secrets, secrets_for = row
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
    return Registration(webhook, secrets_for)
