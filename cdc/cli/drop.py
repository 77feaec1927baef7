"""`cdc delivery drop`: give up dead deliveries."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from cdc.cli import common, known
from cdc.cli.common import (
    AsJson,
    DeliveryIds,
    OfCompany,
    OfEvent,
    OfWebhook,
    Since,
    Until,
    Yes,
    load_settings,
    print_json,
    say,
)
from cdc.cli.replay import carried_out, many, refuse_unfound, selected, show


def drop(
    ctx: typer.Context,
    deliveries: DeliveryIds = None,
    webhook: OfWebhook = None,
    company: OfCompany = None,
    event: OfEvent = None,
    since: Since = None,
    until: Until = None,
    ended_before: Annotated[
        str | None, typer.Option(help="Only what died before then: to continue an interrupted run.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why; the log keeps it.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, and drop nothing.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Give up dead deliveries: they are logged as dropped, and no longer reported.

    Only dead ones are selected. As long as the log has them, `cdc delivery replay --outcome
    dropped` still sends them.
    """
    from cdc.webhooks.replay import Replay

    settings = load_settings(ctx)
    company = common.company_key(settings, company)
    wanted = replace(
        selected(deliveries or [], webhook, company, event, [], since, until, ended_before),
        outcomes=("dead",),
    )
    known.refuse_unknown(settings, webhook, company, event)
    with Replay(settings.database_url) as replays:
        selection = replays.find(wanted)
        refuse_unfound(wanted, selection)
        if not as_json:
            show(selection)
        done = 0
        if not dry_run and selection.total:
            common.confirm(f"Drop {many(selection.total)}?", yes=yes)
            detail = "given up" + (f": {reason}" if reason else "")
            done = carried_out(replays.drop(selection, detail), selection, "dropping")
    if as_json:
        groups = sorted(selection.groups.items())
        print_json(
            {
                "dry_run": dry_run,
                "selected": [{**group._asdict(), "deliveries": n} for group, n in groups],
                "total": selection.total,
                "dropped": done,
                "ended_before": selection.ended_before,
            }
        )
    elif not dry_run and selection.total:
        rest = selection.total - done
        left = f"; {rest} more were replayed or expired meanwhile" if rest else ""
        say(f"Dropped {many(done)}{left}.")
