"""`cdc backfill`: send to a webhook what was there before it was registered."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from cdc.cli import common
from cdc.cli.common import (
    AsJson,
    OfWebhook,
    Yes,
    load_settings,
    moment,
    print_facts,
    print_json,
    print_table,
    say,
)
from cdc.cli.key import transaction
from cdc.wording import counted, when

if TYPE_CHECKING:
    from cdc.webhooks.backfills import Backfill

Number = Annotated[int, typer.Argument(metavar="ID", help="Number of the backfill.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    backfills = typer.Typer(
        no_args_is_help=True, help="Backfills: send what was there before a webhook."
    )
    backfills.command("start")(start)
    backfills.command("list")(list_)
    backfills.command("show")(show)
    backfills.command("pause")(pause)
    backfills.command("resume")(resume)
    backfills.command("cancel")(cancel)
    app.add_typer(backfills, name="backfill")


def start(
    ctx: typer.Context,
    webhook: Annotated[int, typer.Option(help="The webhook to send to.")],
    event: Annotated[str, typer.Option(help="The event whose rows are sent.")],
    as_: Annotated[str, typer.Option("--as", help="What they are sent as: created or modified.")],
    since: Annotated[
        str | None,
        typer.Option(
            help="Only rows changed since then (30m, 2d, or a time in ISO form), where the mapping "
            "declares `changed_at`."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, and start nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Send all rows of the webhook's company, as if they had changed now.

    The daemon reads them a page at a time, and sends them behind live changes. Only rows that
    match the webhook's filter are sent.
    """
    from cdc.postgres.connections import explained
    from cdc.webhooks import backfills
    from cdc.webhooks.audit import Actor

    settings = load_settings(ctx)
    mapping = common.load_mapping(settings)
    asked = (webhook, event, as_, moment(since) if since else None)
    if dry_run:
        with transaction(ctx) as conn, explained(), common.connect(settings) as reading:
            found = backfills.count(conn, reading, mapping, *asked)
        if as_json:
            print_json(asdict(found))
        else:
            say(found.sentence)
        return
    with transaction(ctx) as conn:
        made = backfills.start(conn, Actor.here(), mapping, *asked)
    _print(made, f"Started backfill {made.id} of {event} for webhook {webhook}.", as_json)


def list_(
    ctx: typer.Context,
    webhook: OfWebhook = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Backfills at most.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List backfills and their progress, the newest first."""
    from cdc.cli.known import refuse_unknown_webhook
    from cdc.webhooks import backfills

    if webhook is not None:
        refuse_unknown_webhook(load_settings(ctx), webhook)
    with transaction(ctx) as conn:
        found = backfills.search(conn, webhook, most=limit)
    if as_json:
        print_json([one.shown() for one in found])
        return
    print_table(
        ["id", "webhook", "event", "as", "state", "rows read", "queued", "started", "ended"],
        [
            [x.id, x.webhook_id, x.event, x.action, x.state, x.looked, x.queued, x.created_at,
             x.ended_at]
            for x in found
        ],
        right="id webhook queued",
    )  # fmt: skip


def show(ctx: typer.Context, number: Number, as_json: AsJson = False) -> None:
    """Show one backfill: its progress, and why it has ended."""
    from cdc.webhooks import backfills

    with transaction(ctx) as conn:
        found = backfills.get(conn, number)
    if as_json:
        print_json(found.shown())
        return
    print_facts(
        {
            "backfill": found.id,
            "webhook": f"{found.webhook_id} (company {found.company})",
            "event": found.event,
            "as": found.action,
            "since": found.since,
            "state": found.state,
            "reason": found.reason,
            "rows read": found.looked,
            "queued": found.queued,
            "last key": found.place[-1] if found.place else None,
            "started": f"{when(found.created_at)} by {found.actor}",
            "ended": found.ended_at,
        }
    )


def pause(ctx: typer.Context, number: Number, as_json: AsJson = False) -> None:
    """Stop reading rows until it is resumed; what is queued is still sent."""
    from cdc.webhooks import backfills
    from cdc.webhooks.audit import Actor

    with transaction(ctx) as conn:
        found = backfills.pause(conn, Actor.here(), number)
    _print(found, f"Paused backfill {number} after {_rows(found)}.", as_json)


def resume(ctx: typer.Context, number: Number, as_json: AsJson = False) -> None:
    """Continue after a pause or a failure."""
    from cdc.webhooks import backfills
    from cdc.webhooks.audit import Actor

    with transaction(ctx) as conn:
        found = backfills.resume(conn, Actor.here(), number)
    _print(found, f"Resumed backfill {number} after {_rows(found)}.", as_json)


def cancel(ctx: typer.Context, number: Number, yes: Yes = False, as_json: AsJson = False) -> None:
    """End it for good; what is queued is still sent."""
    from cdc.webhooks import backfills
    from cdc.webhooks.audit import Actor

    with transaction(ctx) as conn:
        found = backfills.get(conn, number)
    if found.state in (*backfills.OPEN, "failed"):
        common.confirm(f"Cancel backfill {number} for good, after {_rows(found)}?", yes=yes)
    with transaction(ctx) as conn:
        found = backfills.cancel(conn, Actor.here(), number)
    _print(found, f"Cancelled backfill {number} after {_rows(found)}.", as_json)


def _rows(found: Backfill) -> str:
    return counted(found.looked, "row")


def _print(found: Backfill, done: str, as_json: bool) -> None:
    if as_json:
        print_json(found.shown())
    else:
        say(done)
