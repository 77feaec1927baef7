"""The registry: one transaction per operation. A trigger on cdc.webhook notifies the daemons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from datetime import timedelta
from typing import Any, Self

import sqlalchemy as sa

from cdc.errors import CdcError, UsageError
from cdc.message.signing import split_endpoint
from cdc.message.signing_keys import Scheme, new_secret, parse_secret, scheme_of
from cdc.model import UNVERIFIED, WebhookState
from cdc.webhooks import audit, checks, statements
from cdc.webhooks.audit import Actor
from cdc.webhooks.model import (
    Added,
    Changes,
    NewWebhook,
    Registration,
    Rotated,
    Rules,
    Secret,
    Unverified,
    VersionChanged,
)
from cdc.webhooks.reader import RegistryReader
from cdc.webhooks.reencrypt import Reencrypted, rewrite
from cdc.webhooks.vault import Vault

GRACE = timedelta(hours=24)


class Registry(RegistryReader):
    """Webhooks and their secrets, and their changes, each with its entry in the audit.

    actor: by whom the changes are made; without: the command line of this host.
    """

    def __init__(self, url: str | sa.Engine, rules: Rules, actor: Actor | None = None) -> None:
        super().__init__(url, rules)
        self._actor = actor or Actor.here()

    def within(self, conn: sa.Connection, actor: Actor) -> Self:
        """The same, whose operations belong to this transaction of the caller's."""
        bound = copy(self)
        bound._conn, bound._actor = conn, actor
        return bound

    # -- registering ------------------------------------------------------------------------------

    def add(self, new: NewWebhook) -> Added:
        """Registers a webhook. It receives the changes of every transaction that begins afterwards.

        Raises UsageError or Refused for what cannot be, Duplicate, LimitReached.
        """
        new = checks.checked(new, self.rules)
        with self._transaction() as conn:
            statements.lock_company(conn, new.company)
            checks.within_capacity(statements.search(conn, new.company), new, self.rules)
            return self._insert(conn, new)

    def add_all(self, news: Sequence[NewWebhook]) -> list[Added]:
        """Registers all of them or, if one cannot be, none; the error names each that cannot."""
        problems: list[str] = []
        good: list[NewWebhook] = []
        for number, new in enumerate(news, 1):
            try:
                good.append(checks.checked(new, self.rules))
            except CdcError as error:
                problems.append(f"{number}. {error.message}")
        _refuse(problems, len(news), UsageError)
        with self._transaction() as conn:
            for company in sorted({new.company for new in good}):
                statements.lock_company(conn, company)
            added: list[Added] = []
            for number, new in enumerate(good, 1):
                try:
                    checks.within_capacity(statements.search(conn, new.company), new, self.rules)
                except CdcError as error:
                    problems.append(f"{number}. {error.message}")
                else:
                    added.append(self._insert(conn, new))
            _refuse(problems, len(news), CdcError)
            return added

    def update(
        self,
        webhook_id: int,
        changes: Changes,
        version: int | None = None,
        *,
        unverified: bool = False,
    ) -> Registration:
        """Changes a registration; paused and suspended ones too.

        version: the one that the changes are meant for; None: any.
        unverified: nothing is sent to another endpoint before it is proven.

        Raises UnknownWebhook, UsageError or Refused, Duplicate, LimitReached, VersionChanged.
        """
        with self._transaction() as conn:
            statements.lock_company(conn, statements.fetch(conn, webhook_id).company)
            old = _expected(statements.alive(conn, webhook_id), version)
            values = checks.values(old, changes, self.rules)
            events = checks.changed_events(old, changes, self.rules)
            if events != old.events or {"endpoint", "ref"} & values.keys():
                others = [o for o in statements.search(conn, old.company) if o.id != webhook_id]
                moved = NewWebhook(
                    old.company,
                    events,
                    values.get("endpoint", old.endpoint),
                    ref=values.get("ref"),
                )
                checks.within_capacity(others, moved, self.rules)
            wanted = checks.changed_wanted(old, changes, events, self.rules)
            if (events, wanted.parts()) != (old.events, old.parts()):
                statements.subscribe(conn, webhook_id, old.company, events, wanted)
            if values.keys() & {"endpoint", "headers", "tls_profile"}:
                statements.due_now(conn, webhook_id)
            if unverified and "endpoint" in values and changes.endpoint != old.endpoint:
                values |= {"state": str(WebhookState.PAUSED), "reason": UNVERIFIED}
                values["unverified_since"] = statements.NOW
            statements.change(conn, webhook_id, values)
            return self._noted(conn, "webhook.update", old)

    # -- states -----------------------------------------------------------------------------------

    def pause(self, webhook_id: int, reason: str = "") -> Registration:
        """Nothing is sent until resumed; changes are collected meanwhile. Raises UnknownWebhook."""
        checks.text("reason", reason)
        return self._move(webhook_id, WebhookState.PAUSED, reason)

    def resume(self, webhook_id: int, *, unverified: bool = False) -> Registration:
        """Ends a pause or a suspension; what was held is sent in order. What waits for a later
        attempt is due at once, also of an active webhook: a person says the endpoint is well again.

        unverified: also of an endpoint that was not proven; it counts as proven from now on.
        Raises UnknownWebhook, Unverified."""
        with self._transaction() as conn:
            old = statements.alive(conn, webhook_id)
            if old.unverified_since is not None and not unverified:
                raise Unverified(
                    f"webhook {webhook_id} cannot be resumed: {UNVERIFIED}",
                    "Its company verifies it in the portal or over the API. Without that: "
                    f"`cdc webhook resume {webhook_id} --unverified`.",
                )
            hurried = statements.due_now(conn, webhook_id)
            if not (hurried or old.state is not WebhookState.ACTIVE or old.reason):
                return self._ordered(old)
            values = {"state": "active", "reason": "", "unverified_since": None}
            statements.change(conn, webhook_id, values)
            return self._noted(conn, "webhook.resume", old)

    def remove(self, webhook_id: int, reason: str = "", version: int | None = None) -> Registration:
        """Ends a registration for good. The daemon drops what is queued and logs it.

        The row stays, so that the log can be read; secrets, headers and logins go at once.
        Raises UnknownWebhook, also for one that was removed before; VersionChanged.
        """
        checks.text("reason", reason)
        with self._transaction() as conn:
            old = _expected(statements.alive(conn, webhook_id), version)
            statements.subscribe(conn, webhook_id, old.company, ())
            statements.drop_secrets(conn, webhook_id)
            bare = split_endpoint(old.endpoint)[0]
            values = {"state": "removed", "reason": reason, "headers": {}, "endpoint": bare}
            statements.change(conn, webhook_id, values)
            return self._noted(conn, "webhook.remove", old)

    def rotate_secret(
        self,
        webhook_id: int,
        grace: timedelta = GRACE,
        secret: str | None = None,
        scheme: Scheme | None = None,
    ) -> Rotated:
        """A new secret; the ones before stay valid for ``grace``, and requests are signed with all.

        secret: the new one; None: one is made.
        scheme: of the one that is made; None: as the current one has it.

        Raises UnknownWebhook, UsageError; CannotOpen where the secrets before have to be read.
        """
        if secret is not None:
            parse_secret(secret)
        if grace < timedelta(0):
            raise UsageError("invalid grace: negative", "0 ends the old secret at once.")
        with self._transaction() as conn:
            old = statements.alive(conn, webhook_id)
            # With another key the old ones may be lost: replacing them at once must still go.
            read = (secret is not None and bool(grace)) or (scheme is None and secret is None)
            before = self._secrets(conn, webhook_id) if read else ()
            if scheme is None:
                scheme = before[0].scheme if before else Scheme.V1
            made = new_secret(scheme) if secret is None else secret
            if grace:
                valid = statements.count_secrets(conn, webhook_id)
                checks.may_rotate(before, valid, webhook_id, made)
                statements.sunset(conn, webhook_id, grace)
                statements.drop_secrets(conn, webhook_id, expired=True)
            else:
                statements.drop_secrets(conn, webhook_id)
            statements.keep_secrets(conn, webhook_id, [self._sealed(Secret(made))])
            statements.due_now(conn, webhook_id)
            statements.change(conn, webhook_id, {})
            until = statements.secrets_end(conn, webhook_id)
            more = {"signature": str(scheme_of(made)), "old_secret_until": until}
            found = self._noted(conn, "webhook.rotate_secret", old, more)
        return Rotated(found, made, until)

    def reencrypt(self, *, decrypt: bool = False) -> Reencrypted:
        """Has all secrets of all registrations encrypted with the newest key, or with none.

        decrypt: store them as they are, whatever keys there are.
        Raises CannotOpen, and nothing is changed then.
        """
        with self._transaction() as conn:
            done = rewrite(conn, self.rules.vault, Vault() if decrypt else self.rules.vault)
            if done.webhooks:
                after = {"webhooks": done.webhooks, "encrypted": done.encrypted}
                audit.note(conn, self._actor, "secrets.reencrypt", after=after)
            return done

    # -- inside -----------------------------------------------------------------------------------

    def _move(self, webhook_id: int, state: WebhookState, reason: str) -> Registration:
        with self._transaction() as conn:
            old = statements.alive(conn, webhook_id)
            if old.state is state and old.reason == reason:
                return self._ordered(old)
            statements.change(conn, webhook_id, {"state": str(state), "reason": reason})
            return self._noted(conn, "webhook.pause", old)

    def _noted(
        self,
        conn: sa.Connection,
        action: str,
        old: Registration,
        more: Mapping[str, Any] | None = None,
    ) -> Registration:
        """The registration as it is after a change, which is written into the audit."""
        new = self._ordered(statements.fetch(conn, old.id))
        before, after = audit.changed(self._ordered(old).shown(), new.shown())
        audit.note(
            conn,
            self._actor,
            action,
            company=old.company,
            webhook=old.id,
            before=before,
            after={**after, **(more or {})},
        )
        return new

    def _sealed(self, secret: Secret) -> Secret:
        scheme = scheme_of(secret.secret)
        sealed = self.rules.vault.seal(secret.secret)
        return replace(secret, secret=sealed, kept_scheme=scheme)

    def _insert(self, conn: sa.Connection, new: NewWebhook) -> Added:
        secrets = new.secrets or (Secret(new_secret(new.scheme)),)
        vault = self.rules.vault
        stored = replace(
            new,
            endpoint=vault.seal_endpoint(new.endpoint),
            headers=vault.seal_headers(new.headers),
        )
        webhook_id = statements.insert(conn, stored, self.rules.cap)
        statements.keep_secrets(conn, webhook_id, [self._sealed(one) for one in secrets])
        found = self._ordered(statements.fetch(conn, webhook_id))
        audit.note(
            conn,
            self._actor,
            "webhook.add",
            company=new.company,
            webhook=webhook_id,
            after=found.shown(),
        )
        return Added(found, secrets[0].secret, generated=not new.secrets)


def _expected(found: Registration, version: int | None) -> Registration:
    if version is not None and found.version != version:
        raise VersionChanged(
            f"webhook {found.id} has version {found.version}, not {version}: it was changed",
            "Read it again, and decide then.",
        )
    return found


def _refuse(problems: Sequence[str], total: int, kind: type[CdcError]) -> None:
    if problems:
        raise kind(
            f"{len(problems)} of {total} cannot be registered:\n  " + "\n  ".join(problems[:50]),
            "Nothing was registered.",
        )
