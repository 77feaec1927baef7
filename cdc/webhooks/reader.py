"""The registry's reading side: registrations, and what is secret in them where that is needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Self

import sqlalchemy as sa

from cdc.message.signing_keys import Scheme
from cdc.model import Webhook, WebhookState
from cdc.postgres import connections
from cdc.webhooks import statements
from cdc.webhooks.model import Registration, Rules, Secret, in_order
from cdc.webhooks.vault import CannotOpen


class RegistryReader:
    """Webhooks and their secrets, in one database.

    url:   the database's address, as URL or in libpq's keyword form; or an engine.
    rules: what registrations are held against.

    All methods raise DatabaseError when the database cannot be reached or refuses.
    """

    def __init__(self, url: str | sa.Engine, rules: Rules) -> None:
        self.rules = rules
        self._engine = connections.engine(url) if isinstance(url, str) else url
        self._conn: sa.Connection | None = None

    def close(self) -> None:
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        if self._conn is not None:
            yield self._conn
            return
        with connections.explained():
            try:
                with self._engine.begin() as conn:
                    yield conn
            except sa.exc.DBAPIError as error:
                raise error.orig or error from None

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
        ref: str | None = None,
        removed: bool = False,
        most: int | None = None,
    ) -> list[Registration]:
        """Registrations by id, the first ``most``; removed ones only with ``removed`` or as
        ``state``."""
        with self._transaction() as conn:
            found = statements.search(
                conn, company, event, state, removed=removed, most=most, ref=ref
            )
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
            found = statements.search(conn, whole=True)
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
            found = statements.alive(conn, webhook_id, whole=True)
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
