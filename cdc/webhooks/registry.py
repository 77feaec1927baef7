"""The registry: one transaction per operation. A trigger on cdc.webhook notifies the daemons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from types import TracebackType
from typing import Self

import sqlalchemy as sa

from cdc.errors import CdcError, UsageError
from cdc.message.signing import split_endpoint
from cdc.message.signing_keys import Scheme, new_secret, parse_secret
from cdc.model import Webhook, WebhookState
from cdc.postgres import connections
from cdc.webhooks import checks, statements
from cdc.webhooks.model import (
    Added,
    Changes,
    NewWebhook,
    Registration,
    Rotated,
    Rules,
    Secret,
    in_order,
)
from cdc.webhooks.reencrypt import Reencrypted, rewrite
from cdc.webhooks.vault import CannotOpen, Vault

GRACE = timedelta(hours=24)


class Registry:
    """Webhooks and their secrets, in one database.

    url:   the database's address, as URL or in libpq's keyword form.
    rules: what registrations are held against.

    All methods raise DatabaseError when the database cannot be reached or refuses.
    """

    def __init__(self, url: str, rules: Rules) -> None:
        self.rules = rules
        self._engine = connections.engine(url)

    def close(self) -> None:
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        with connections.explained():
            try:
                with self._engine.begin() as conn:
                    yield conn
            except sa.exc.DBAPIError as error:
                raise error.orig or error from None

    # -- reading ----------------------------------------------------------------------------------

    def get(self, webhook_id: int) -> Registration:
        """Raises UnknownWebhook; removed webhooks are found."""
        with self._transaction() as conn:
            return self._ordered(statements.fetch(conn, webhook_id))

    def find(
        self,
        company: str | None = None,
        event: str | None = None,
        state: WebhookState | None = None,
        *,
        removed: bool = False,
        most: int | None = None,
    ) -> list[Registration]:
        """Registrations by id, the first ``most``; removed ones only with ``removed`` or as
        ``state``."""
        with self._transaction() as conn:
            found = statements.search(conn, company, event, state, removed=removed, most=most)
        return [self._ordered(one) for one in found]

    def trouble(self, webhook_id: int) -> str | None:
        """What stops its daemon from sending to it, or makes it wait; None if nothing does."""
        with self._transaction() as conn:
            return statements.trouble(conn, webhook_id)

    def secrets(self, webhook_id: int) -> tuple[Secret, ...]:
        """The secrets valid now, opened, newest first. Raises UnknownWebhook, CannotOpen."""
        with self._transaction() as conn:
            statements.fetch(conn, webhook_id)
            return self._secrets(conn, webhook_id)

    def with_secrets(self) -> list[tuple[Registration, tuple[Secret, ...]]]:
        """All registrations but removed ones, with the secrets valid now; all of it opened.

        Raises CannotOpen.
        """
        with self._transaction() as conn:
            found = statements.search(conn)
            secrets = statements.all_secrets(conn)
        return [
            (self._opened(self._ordered(one)), self._open_secrets(secrets.get(one.id, ())))
            for one in found
        ]

    def schemes(self) -> dict[int, Scheme]:
        """How each webhook signs now, as far as its secret can be opened."""
        with self._transaction() as conn:
            secrets = statements.all_secrets(conn)
        found: dict[int, Scheme] = {}
        for number, own in secrets.items():
            with suppress(CannotOpen):
                found[number] = self._open_secrets(own[:1])[0].scheme
        return found

    def sendable(self, webhook_id: int) -> Webhook:
        """The webhook as the daemon has it, with its secrets, all opened.

        Raises UnknownWebhook if removed, CannotOpen.
        """
        with self._transaction() as conn:
            found = statements.alive(conn, webhook_id)
            secrets = statements.secrets_of(conn, webhook_id)
        return self.rules.vault.opened(
            Webhook(
                id=found.id,
                company=found.company,
                endpoint=found.endpoint,
                state=found.state,
                version=found.version,
                secrets=tuple(secret.secret for secret in secrets),
                cap=found.cap,
                rate=found.rate,
                headers=found.headers,
                tls_profile=found.tls_profile,
            )
        )

    # -- registering ------------------------------------------------------------------------------

    def add(self, new: NewWebhook) -> Added:
        """Registers a webhook. It receives the changes of every transaction that begins afterwards.

        Raises UsageError or Refused for what cannot be, Duplicate, LimitReached.
        """
        new = checks.checked(new, self.rules)
        with self._transaction() as conn:
            statements.lock_company(conn, new.company)
            checks.room(statements.search(conn, new.company), new, self.rules)
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
                    checks.room(statements.search(conn, new.company), new, self.rules)
                except CdcError as error:
                    problems.append(f"{number}. {error.message}")
                else:
                    added.append(self._insert(conn, new))
            _refuse(problems, len(news), CdcError)
            return added

    def update(self, webhook_id: int, changes: Changes) -> Registration:
        """Changes a registration; paused and suspended ones too.

        Raises UnknownWebhook, UsageError or Refused, Duplicate, LimitReached.
        """
        with self._transaction() as conn:
            statements.lock_company(conn, statements.fetch(conn, webhook_id).company)
            old = statements.alive(conn, webhook_id)
            values = checks.values(old, changes, self.rules)
            events = checks.changed_events(old, changes, self.rules)
            if events != old.events or changes.endpoint is not None:
                others = [o for o in statements.search(conn, old.company) if o.id != webhook_id]
                wanted = NewWebhook(old.company, events, values.get("endpoint", old.endpoint))
                checks.room(others, wanted, self.rules)
                statements.subscribe(conn, webhook_id, old.company, events)
            if values.keys() & {"endpoint", "headers", "tls_profile"}:
                statements.due_now(conn, webhook_id)
            statements.change(conn, webhook_id, values)
            return self._ordered(statements.fetch(conn, webhook_id))

    # -- states -----------------------------------------------------------------------------------

    def pause(self, webhook_id: int, reason: str = "") -> Registration:
        """Nothing is sent until resumed; changes are collected meanwhile. Raises UnknownWebhook."""
        checks.text("reason", reason)
        return self._move(webhook_id, WebhookState.PAUSED, reason)

    def resume(self, webhook_id: int) -> Registration:
        """Ends a pause or a suspension; what was held is sent in order. What waits for a later
        attempt is due at once, also of an active webhook: a person says the endpoint is well again.
        Raises UnknownWebhook."""
        with self._transaction() as conn:
            old = statements.alive(conn, webhook_id)
            hurried = statements.due_now(conn, webhook_id)
            if hurried or old.state is not WebhookState.ACTIVE or old.reason:
                statements.change(conn, webhook_id, {"state": "active", "reason": ""})
            return self._ordered(statements.fetch(conn, webhook_id))

    def remove(self, webhook_id: int, reason: str = "") -> Registration:
        """Ends a registration for good. The daemon drops what is queued and logs it.

        The row stays, so that the log can be read; secrets, headers and logins go at once.
        Raises UnknownWebhook, also for one that was removed before.
        """
        checks.text("reason", reason)
        with self._transaction() as conn:
            old = statements.alive(conn, webhook_id)
            statements.subscribe(conn, webhook_id, old.company, ())
            statements.drop_secrets(conn, webhook_id)
            bare = split_endpoint(old.endpoint)[0]
            values = {"state": "removed", "reason": reason, "headers": {}, "endpoint": bare}
            statements.change(conn, webhook_id, values)
            return statements.fetch(conn, webhook_id)

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
            statements.alive(conn, webhook_id)
            # With another key the old ones may be lost: replacing them at once must still go.
            before = self._secrets(conn, webhook_id) if grace or not (scheme or secret) else ()
            if scheme is None:
                scheme = before[0].scheme if before else Scheme.V1
            made = new_secret(scheme) if secret is None else secret
            if grace:
                checks.may_rotate(before, webhook_id, made)
                statements.sunset(conn, webhook_id, grace)
                statements.drop_secrets(conn, webhook_id, expired=True)
            else:
                statements.drop_secrets(conn, webhook_id)
            statements.keep_secrets(conn, webhook_id, [Secret(self.rules.vault.seal(made))])
            statements.due_now(conn, webhook_id)
            statements.change(conn, webhook_id, {})
            ends = [s.expires_at for s in statements.secrets_of(conn, webhook_id) if s.expires_at]
            found = self._ordered(statements.fetch(conn, webhook_id))
        return Rotated(found, made, max(ends, default=None))

    def reencrypt(self, *, decrypt: bool = False) -> Reencrypted:
        """Has all secrets of all registrations encrypted with the newest key, or with none.

        decrypt: store them as they are, whatever keys there are.
        Raises CannotOpen, and nothing is changed then.
        """
        with self._transaction() as conn:
            return rewrite(conn, self.rules.vault, Vault() if decrypt else self.rules.vault)

    # -- inside -----------------------------------------------------------------------------------

    def _ordered(self, one: Registration) -> Registration:
        return replace(one, events=in_order(one.events, self.rules.events))

    def _opened(self, one: Registration) -> Registration:
        vault = self.rules.vault
        return replace(
            one,
            endpoint=vault.open_endpoint(one.endpoint),
            headers=vault.open_headers(one.headers),
        )

    def _secrets(self, conn: sa.Connection, webhook_id: int) -> tuple[Secret, ...]:
        return self._open_secrets(statements.secrets_of(conn, webhook_id))

    def _open_secrets(self, secrets: Sequence[Secret]) -> tuple[Secret, ...]:
        return tuple(replace(one, secret=self.rules.vault.open(one.secret)) for one in secrets)

    def _move(self, webhook_id: int, state: WebhookState, reason: str) -> Registration:
        with self._transaction() as conn:
            old = statements.alive(conn, webhook_id)
            if old.state is not state or old.reason != reason:
                statements.change(conn, webhook_id, {"state": str(state), "reason": reason})
            return self._ordered(statements.fetch(conn, webhook_id))

    def _insert(self, conn: sa.Connection, new: NewWebhook) -> Added:
        secrets = new.secrets or (Secret(new_secret(new.scheme)),)
        vault = self.rules.vault
        stored = replace(
            new,
            endpoint=vault.seal_endpoint(new.endpoint),
            headers=vault.seal_headers(new.headers),
        )
        webhook_id = statements.insert(conn, stored, self.rules.cap)
        statements.keep_secrets(
            conn, webhook_id, [replace(one, secret=vault.seal(one.secret)) for one in secrets]
        )
        found = self._ordered(statements.fetch(conn, webhook_id))
        return Added(found, secrets[0].secret, generated=not new.secrets)


def _refuse(problems: Sequence[str], total: int, kind: type[CdcError]) -> None:
    if problems:
        raise kind(
            f"{len(problems)} of {total} cannot be registered:\n  " + "\n  ".join(problems[:50]),
            "Nothing was registered.",
        )
