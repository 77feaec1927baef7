"""`cdc notice`: which webhooks need attention, and which no longer do."""

from __future__ import annotations

from typing import Annotated

import typer

from cdc.cli.common import AsJson, load_settings, print_json, print_table
from cdc.cli.key import transaction


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    notices = typer.Typer(no_args_is_help=True, help="Notices: webhooks that need attention.")
    notices.command("list")(list_)
    app.add_typer(notices, name="notice")


def list_(
    ctx: typer.Context,
    company: Annotated[str | None, typer.Option(help="Only webhooks of this company.")] = None,
    webhook: Annotated[int | None, typer.Option(help="Only this webhook.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Notices at most.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List notices, the newest first.

    Daemons write one when a webhook has been failing for 15 minutes, a day before it is suspended,
    when it is suspended, when it delivers again, when deliveries are dead, and 2 days before held
    ones expire.
    """
    from cdc.cli.known import refuse_unknown
    from cdc.webhooks.notices import NoticeFilter, listed

    refuse_unknown(load_settings(ctx), webhook, company, None)
    with transaction(ctx) as conn:
        found = listed(conn, NoticeFilter(company, webhook, limit=limit))
    if as_json:
        print_json(found)
        return
    print_table(
        ["at", "kind", "webhook", "company", "notice"],
        [
            [row["at"], row["kind"], row["webhook_id"], row["company"], row["sentence"]]
            for row in found
        ],
        right="webhook",
    )
