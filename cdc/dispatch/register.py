"""Applies registrations to channels: rules, seal, held or not."""

from __future__ import annotations

from random import Random

from cdc import channel as channels
from cdc.channel import Channel, Registration
from cdc.errors import CdcError
from cdc.lanes import Room
from cdc.observe import Observer
from cdc.pipeline import Pipeline
from cdc.road import UNUSABLE, Webhook, WebhookState
from cdc.settings import Settings
from cdc.sign import Sealer
from cdc.vault import Vault

UNUSABLE_AGAIN = 30.0  # seconds until such a registration is tried again


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

    def apply(self, channel: Channel | None, registration: Registration) -> Channel:
        """Returns the webhook's channel: the given one as the registration says now, or a new one.

        What cannot be used here (a key or a file is missing) is held, and told: nothing is lost.
        """
        webhook = registration.webhook
        changed = channel is None or channel.webhook.version != webhook.version
        if channel is None:
            channel = channels.open_channel(registration, self._settings, self._random, self._room)
        else:
            # A secret that ran out is a change; being loaded once more is none.
            if channel.webhook != webhook:
                self._observer.registration(webhook.id, webhook.state, webhook.version)
            channel.webhook = webhook
            channel.lane.reconfigure(channels.rules_of(webhook, self._settings))
        self._seal(channel)
        if webhook.state is WebhookState.ACTIVE and channel.sealer is not None:
            # Whoever changes a registration, or resumes it, wants to see it tried now.
            if changed or channel.lane.paused:
                channel.lane.resume()
            channel.acknowledged = webhook.version
        else:
            channel.lane.pause()
        return channel

    def taken_over(self, channel: Channel, error: str) -> None:
        """The last owner noted this error; another one may be able to use what it could not."""
        if channel.sealer is not None and error.startswith(UNUSABLE):
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
