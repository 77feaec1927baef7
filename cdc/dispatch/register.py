"""Applies registrations to channels: rules, seal, held or not."""

from __future__ import annotations

import time
from random import Random

from cdc import channel as channels
from cdc.channel import UNUSABLE_AGAIN, Channel, Registration, Resting
from cdc.errors import CdcError
from cdc.lanes import BreakerState, Room
from cdc.observe import Observer
from cdc.pipeline import Pipeline
from cdc.queue.records import Promote
from cdc.road import UNUSABLE, Webhook, WebhookState
from cdc.settings import Settings
from cdc.sign import Sealer
from cdc.vault import Vault

RENEWED = "its endpoint, secrets, headers or TLS profile changed"


class Registrar:
    """Makes channels what their registrations say."""

    def __init__(
        self, settings: Settings, pipeline: Pipeline, observer: Observer, room: Room
    ) -> None:
        self._settings = settings
        self._pipeline = pipeline
        self._observer = observer
        self._room = room
        self._vault = Vault(settings.secret_keys)
        self._random = Random()  # noqa: S311 - jitter, no secret

    def open(self, registration: Registration, resting: Resting | None) -> Channel:
        """Returns a channel for a webhook that has none.

        resting: what its last one in this daemon left.
        """
        webhook = registration.webhook
        channel = channels.open_channel(webhook, resting, self._settings, self._random, self._room)
        self._apply(channel, changed=resting is None or resting.version != webhook.version)
        now = time.monotonic()
        if resting is None and registration.kept is not None:
            channel.lane.restore(registration.kept, now)
            channel.noted = True
        if channel.sealer is not None and registration.error.startswith(UNUSABLE):
            # Its last owner could not use it.
            self._pipeline.keep(channel)
        for resource, has_time in registration.blocked:
            channel.lane.load_blocked(resource, 0)
            if not has_time:
                # Parked behind nobody: a crash came before the promotion was recorded.
                self._pipeline.settler.submit(Promote(channel.lane, resource))
        if registration.due_in is not None:
            channel.lane.noticed_due(now + registration.due_in)
        return channel

    def change(self, channel: Channel, registration: Registration) -> None:
        """Makes the channel what the registration says now."""
        webhook = registration.webhook
        changed = channel.webhook.version != webhook.version
        # A secret that ran out is a change; being loaded once more is none.
        if channel.webhook != webhook:
            self._observer.registration(webhook.id, webhook.state, webhook.version)
        channel.webhook = webhook
        channel.lane.reconfigure(channels.rules_of(webhook, self._settings))
        self._apply(channel, changed=changed)

    def _apply(self, channel: Channel, *, changed: bool) -> None:
        """What cannot be used here (a key or a file is missing) is held, and logged: nothing is
        lost."""
        webhook = channel.webhook
        self._seal(channel)
        if channel.sealer is not None:
            before, channel.receiver = channel.receiver, channel.sealer.receiver
            # A secret that ran out is no other endpoint: the version is as before.
            if changed and before is not None and before != channel.receiver:
                self._renew(channel)
        if webhook.state is WebhookState.ACTIVE and channel.sealer is not None:
            # Whoever changes a registration, or resumes it, wants to see it tried now.
            if changed or channel.lane.paused:
                channel.lane.resume()
            channel.acknowledged = webhook.version
        else:
            channel.lane.pause()

    def _renew(self, channel: Channel) -> None:
        """What the lane knows is about an endpoint that is not in use any more."""
        if channel.lane.breaker is not BreakerState.CLOSED:
            self._observer.breaker(channel.webhook.id, False, RENEWED)
        channel.lane.renew()
        channel.last_error, channel.told_busy, channel.unable = None, False, False
        self._pipeline.keep(channel)

    def _seal(self, channel: Channel) -> None:
        try:
            channel.sealer = self._sealer(channel.webhook)
        except CdcError as error:
            channel.sealer = None
            if channel.last_error != (told := UNUSABLE + error.message):
                channel.last_error = told
                self._observer.unusable(channel.webhook.id, error)
        else:
            if (channel.last_error or "").startswith(UNUSABLE):
                channel.last_error = None
                self._pipeline.keep(channel)

    def _sealer(self, webhook: Webhook) -> Sealer | None:
        """Raises CdcError for a registration that cannot be used here."""
        if webhook.state is WebhookState.REMOVED:
            return None
        self._pipeline.client.check_tls(webhook.tls_profile)
        return Sealer(self._vault.opened(webhook))


def again_in(channel: Channel, registration: Registration) -> float | None:
    """Seconds until the registration is to be loaded again although nobody changed it, if ever."""
    if channel.sealer is None and not channel.removed:
        return UNUSABLE_AGAIN  # what is missing may be a file, and come without a word
    return registration.secrets_for
