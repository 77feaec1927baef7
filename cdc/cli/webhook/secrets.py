"""`cdc webhook rotate-secret` and `reencrypt-secrets`."""

from __future__ import annotations

from typing import Annotated

import typer

from cdc.cli.common import AsJson, Yes, confirm, duration, fields_of, print_facts, print_json, say
from cdc.cli.webhook import base
from cdc.cli.webhook.base import WebhookId, open_registry
from cdc.errors import CdcError
from cdc.wording import counted


def rotate_secret(
    ctx: typer.Context,
    webhook_id: WebhookId,
    grace: Annotated[
        str,
        typer.Option(
            help="How long the old secret stays valid (90s, 30m, 24h, 7d); 0: not at all."
        ),
    ] = "24h",
    secret: Annotated[str | None, base.Secret] = None,
    signature: Annotated[str | None, base.Signature] = None,
    as_json: AsJson = False,
) -> None:
    """Give a webhook a new secret, which is shown only now.

    For a grace period requests are signed with the old one too, so that the receiver can change
    over without missing any. --signature changes the way of signing.
    """
    registry, _, _ = open_registry(ctx)
    own = base.line_of(secret)
    scheme = base.scheme_of(signature, own)
    with registry:
        rotated = registry.rotate_secret(webhook_id, duration(grace), own, scheme)
    if as_json:
        new = base.secret_fields(rotated.secret)
        print_json({"id": webhook_id, **new, "old_secret_until": rotated.old_until})
        return
    shown = base.told_to_people(rotated.secret)
    print_facts({"id": webhook_id, **shown, "old secret until": rotated.old_until})
    if shown["secret"]:
        say("The receiver needs the new secret; it is not shown again.")
    else:
        say("The receiver needs the new public key.")


def reencrypt_secrets(
    ctx: typer.Context,
    decrypt: Annotated[
        bool, typer.Option("--decrypt", help="Store them without encryption.")
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Encrypt all secrets in the database again, with the newest key of CDC_SECRET_KEYS.

    Run it after adding a key in front; afterwards the older keys can be removed. Secrets that are
    encrypted with the newest key already are left alone.
    """
    registry, settings, _ = open_registry(ctx)
    if not settings.secret_keys:
        raise CdcError(
            "CDC_SECRET_KEYS is not set, so there is nothing to encrypt with",
            "Make a key with `cdc config new-key`, and give it to this command and all daemons. "
            "To decrypt, keep the keys and use --decrypt.",
        )
    if decrypt:
        confirm("Store all secrets in the database without encryption?", yes=yes)
    with registry:
        done = registry.reencrypt(decrypt=decrypt)
    if as_json:
        print_json(fields_of(done))
        return
    how = "encrypted with the newest key" if done.encrypted else "stored without encryption"
    say(
        f"{counted(done.webhooks, 'webhook')} changed; all secrets are {how}."
        if done.webhooks
        else f"Nothing to do: all secrets are {how}."
    )
