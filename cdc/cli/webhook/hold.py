"""`cdc webhook pause`, `resume` and `remove`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cdc import wording
from cdc.cli import common
from cdc.cli.common import AsJson, Yes, print_json, say
from cdc.cli.webhook.base import Reason, WebhookId, headline, open_registry
from cdc.errors import CdcError
from cdc.model import WebhookState

if TYPE_CHECKING:
    from cdc.settings import Settings


def pause(
    ctx: typer.Context,
    webhook_id: WebhookId,
    reason: Reason = "",
    timeout: Annotated[
        float,
        typer.Option(min=0, max=3600, help="Seconds to wait for the daemon; 0 does not wait."),
    ] = 30.0,
    as_json: AsJson = False,
) -> None:
    """Stop sending to a webhook; its changes are collected, and sent in order when it is resumed.

    Returns when the daemon has stopped: no request is in flight.
    """
    from cdc.webhooks.owner import Stopped, wait_until_stopped

    registry, settings, _ = open_registry(ctx)
    with registry:
        paused = registry.pause(webhook_id, reason)
    ended = wait_until_stopped(settings.database_url, webhook_id, paused.version, timeout)
    if as_json:
        print_json({**paused.shown(), "daemon": ended.value})
    elif ended is Stopped.CONFIRMED:
        say(f"Paused {headline(paused)}; nothing is sent any more.")
    elif ended is Stopped.NOBODY:
        say(f"Paused {headline(paused)}; no daemon is running for it.")
    if ended is Stopped.LATE and timeout > 0:
        raise CdcError(
            f"webhook {webhook_id} is paused, but its daemon has not confirmed it within "
            f"{timeout:g} s",
            "A request may still be in flight. Run the command again to wait longer.",
        )
    if ended is Stopped.LATE and not as_json:
        say(f"Paused {headline(paused)}; requests may still be in flight.")


def resume(
    ctx: typer.Context,
    webhook_id: WebhookId,
    unverified: Annotated[
        bool,
        typer.Option("--unverified", help="Resume even if the company's endpoint is not verified."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """End a pause or a suspension; held deliveries are sent in order, and retries are due now.

    Also useful for an active webhook whose endpoint works again: its retries are due at once.
    """
    registry, _, _ = open_registry(ctx)
    with registry:
        resumed = registry.resume(webhook_id, unverified=unverified)
    if as_json:
        print_json(resumed.shown())
    else:
        say(f"Resumed {headline(resumed)}.")


def remove(
    ctx: typer.Context,
    webhook_id: WebhookId,
    reason: Reason = "",
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Remove a webhook for good; the daemon drops what is queued for it, and logs it."""
    registry, settings, _ = open_registry(ctx)
    with registry:
        found = registry.get(webhook_id)
        waiting = _waiting(settings, webhook_id)
        if found.state is not WebhookState.REMOVED:
            common.confirm(
                f"Remove {headline(found)}, dropping what waits ({_deliveries(waiting)})?", yes=yes
            )
        removed = registry.remove(webhook_id, reason)
    if as_json:
        print_json({**removed.shown(), "dropped": waiting})
    else:
        left = f"; the daemon drops what still waits ({_deliveries(waiting)})" if waiting else ""
        say(f"Removed {headline(removed)}{left}.")


def _deliveries(count: int) -> str:
    return wording.counted(count, "delivery", "deliveries")


def _waiting(settings: Settings, webhook_id: int) -> int:
    from cdc.postgres.connections import explained

    with explained(), common.connect(settings) as conn:
        row = conn.execute(
            "select (select count(*) from cdc.queue where webhook_id = %(id)s)"
            "     + (select count(*) from cdc.retry where webhook_id = %(id)s)",
            {"id": webhook_id},
        ).fetchone()
    return int(row[0]) if row else 0
