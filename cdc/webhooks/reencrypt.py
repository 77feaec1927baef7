"""Encrypts all secrets in the registry again, after a key was added or removed."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from cdc.schema.tables import webhook, webhook_secret
from cdc.webhooks import statements
from cdc.webhooks.vault import CannotOpen, Vault


@dataclass(frozen=True, slots=True)
class Reencrypted:
    """How many were written again, and how many needed nothing.

    encrypted: whether they are encrypted now.
    """

    webhooks: int
    secrets: int
    untouched: int
    encrypted: bool


def rewrite(conn: sa.Connection, old: Vault, new: Vault) -> Reencrypted:
    """Opens with one, seals with the other. Daemons load the registrations again.

    Raises CannotOpen, naming the webhook.
    """
    changed: set[int] = set()
    secrets = untouched = 0
    # Not FOR UPDATE: the daemon's notes on the lane refer to these rows and must not wait.
    rows = conn.execute(
        sa.select(webhook.c.id, webhook.c.endpoint, webhook.c.headers)
        .order_by(webhook.c.id)
        .with_for_update(key_share=True)
    ).all()
    for row in rows:
        try:
            values = {
                "endpoint": renewed_endpoint(row.endpoint, old, new),
                "headers": {name: renewed(v, old, new) for name, v in row.headers.items()},
            }
        except CannotOpen as error:
            raise _named(row.id, error) from None
        if values != {"endpoint": row.endpoint, "headers": row.headers}:
            changed.add(row.id)
            statements.change(conn, row.id, values)
    kept = conn.execute(sa.select(webhook_secret).with_for_update()).all()
    for one in kept:
        try:
            secret = renewed(one.secret, old, new)
        except CannotOpen as error:
            raise _named(one.webhook_id, error) from None
        if secret == one.secret:
            untouched += 1
            continue
        secrets += 1
        conn.execute(
            sa.update(webhook_secret)
            .where(
                webhook_secret.c.webhook_id == one.webhook_id,
                webhook_secret.c.created_at == one.created_at,
            )
            .values(secret=secret)
        )
        if one.webhook_id not in changed:
            changed.add(one.webhook_id)
            statements.change(conn, one.webhook_id, {})
    return Reencrypted(len(changed), secrets, untouched, new.locked)


def renewed(text: str, old: Vault, new: Vault) -> str:
    return text if new.holds(text) else new.seal(old.open(text))


def renewed_endpoint(endpoint: str, old: Vault, new: Vault) -> str:
    return (
        endpoint if new.holds_endpoint(endpoint) else new.seal_endpoint(old.open_endpoint(endpoint))
    )


def _named(webhook_id: int, error: CannotOpen) -> CannotOpen:
    return CannotOpen(f"webhook {webhook_id}: {error.message}", error.hint)
