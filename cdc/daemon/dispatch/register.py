"""Applies registrations to workers: rules, seal, held or not."""

from __future__ import annotations

import time
from random import Random

from cdc.daemon.pipeline import Pipeline
from cdc.daemon.store.records import Promote
from cdc.daemon.worker import (
    UNUSABLE_RETRY_S,
    ActiveRegistration,
    Resting,
    Worker,
    open_worker,
    rules_of,
)
from cdc.errors import CdcError
from cdc.lanes import BreakerState, Capacity
from cdc.message.signing import Sealer
from cdc.model import UNUSABLE, Webhook, WebhookState
from cdc.settings import Settings
from cdc.telemetry import Observer
from cdc.webhooks.vault import Vault

RENEWED_REASON = "its endpoint, secrets, headers or TLS profile changed"


class Registrar:
    """Makes workers what their registrations say."""

    def __init__(
        self, settings: Settings, pipeline: Pipeline, observer: Observer, capacity: Capacity
    ) -> None:
        self._settings = settings
        self._pipeline = pipeline
        self._observer = observer
        self._capacity = capacity
        self._vault = Vault(settings.secret_keys)
        self._random = Random()  # noqa: S311 - jitter, no secret

    def open(self, registration: ActiveRegistration, resting: Resting | None) -> Worker:
        """Returns a worker for a webhook that has none.

        resting: what its last one in this daemon left.
        """
        webhook = registration.webhook
        worker = open_worker(webhook, resting, self._settings, self._random, self._capacity)
        self._apply(worker, changed=resting is None or resting.version != webhook.version)
        now = time.monotonic()
        if resting is None and registration.kept is not None:
            worker.lane.restore(registration.kept, now)
            worker.noted = True
        if worker.sealer is not None and registration.error.startswith(UNUSABLE):
            # Its last owner could not use it.
            self._pipeline.consequences.keep(worker)
        for resource, has_time in registration.blocked:
            worker.lane.load_blocked(resource, 0)
            if not has_time:
                # Parked behind no other: a crash came before the promotion was recorded.
                self._pipeline.settler.submit(Promote(worker.lane, resource))
        if registration.due_in is not None:
            worker.lane.noticed_due(now + registration.due_in)
        return worker

    def change(self, worker: Worker, registration: ActiveRegistration) -> None:
        """Makes the worker what the registration says now."""
        webhook = registration.webhook
        changed = worker.webhook.version != webhook.version
        # A secret that ran out is a change; being loaded again is none.
        if worker.webhook != webhook:
            self._observer.registration(webhook.id, webhook.state, webhook.version)
        worker.webhook = webhook
        worker.lane.reconfigure(rules_of(webhook, self._settings))
        if changed:
            # What waits in memory is read again: it may have been cancelled.
            worker.lane.drop()
        self._apply(worker, changed=changed)

    def _apply(self, worker: Worker, *, changed: bool) -> None:
        """What cannot be used here (a key or a file is missing) is held, and logged: nothing is
        lost."""
        webhook = worker.webhook
        self._seal(worker)
        if worker.sealer is not None:
            before, worker.receiver = worker.receiver, worker.sealer.receiver
            # A secret that ran out does not make another endpoint: the version is as before.
            if changed and before is not None and before != worker.receiver:
                self._renew(worker)
        if webhook.state is WebhookState.ACTIVE and worker.sealer is not None:
            # A person who changes a registration, or resumes it, wants to see it tried now.
            if changed or worker.lane.paused:
                worker.lane.resume()
            worker.acknowledged = webhook.version
            if changed and worker.noted:
                # The time of failing begins again: the next owner has to know.
                self._pipeline.consequences.keep(worker)
        else:
            worker.lane.pause()

    def _renew(self, worker: Worker) -> None:
        """What the lane knows is about an endpoint that is not in use any more."""
        if worker.lane.breaker is not BreakerState.CLOSED:
            self._observer.breaker(worker.webhook.id, False, RENEWED_REASON)
        worker.lane.renew()
        worker.last_error, worker.logged_busy, worker.unable = None, False, False
        worker.succeeding = False
        self._pipeline.consequences.keep(worker)

    def _seal(self, worker: Worker) -> None:
        try:
            worker.sealer = self._sealer(worker.webhook)
        except CdcError as error:
            worker.sealer = None
            if worker.last_error != (reason := UNUSABLE + error.message):
                worker.last_error = reason
                self._observer.unusable(worker.webhook.id, error)
        else:
            if (worker.last_error or "").startswith(UNUSABLE):
                worker.last_error = None
                self._pipeline.consequences.keep(worker)

    def _sealer(self, webhook: Webhook) -> Sealer | None:
        """Raises CdcError for a registration that cannot be used here."""
        if webhook.state is WebhookState.REMOVED:
            return None
        self._pipeline.client.check_tls(webhook.tls_profile)
        return Sealer(self._vault.opened(webhook))


def again_in(worker: Worker, registration: ActiveRegistration) -> float | None:
    """Seconds until the registration is to be loaded again although it was not changed, if ever."""
    if worker.sealer is None and not worker.removed:
        return UNUSABLE_RETRY_S  # what is missing may be a file, and come without a word
    return registration.secrets_for
