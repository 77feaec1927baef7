"""`cdc webhook rotate-secret`."""

from __future__ import annotations

from typing import Annotated

import typer

from cdc.cli.common import AsJson, duration, print_facts, print_json, say
from cdc.cli.webhook import base
from cdc.cli.webhook.base import WebhookId, open_registry


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
    as_json: AsJson = False,
) -> None:
    """Give a webhook a new secret, which is shown only now.

    For a time of grace requests are signed with the old one too, so that the receiver can change
    over without missing any.
    """
    registry, _, _ = open_registry(ctx)
    with registry:
        rotated = registry.rotate_secret(webhook_id, duration(grace), base.secret_of(secret))
    if as_json:
        print_json(
            {"id": webhook_id, "secret": rotated.secret, "old_secret_until": rotated.old_until}
        )
        return
    facts = {"id": webhook_id, "secret": rotated.secret, "old secret until": rotated.old_until}
    print_facts(facts)
    say("The receiver needs the new secret; it is not shown again.")
