"""`cdc delivery`: where a change is on its way to a webhook, and why."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cdc import wording
from cdc.cli import cancel, common, known, replay
from cdc.cli.common import (
    AsJson,
    OfCompany,
    OfEvent,
    OfWebhook,
    Since,
    load_settings,
    moment,
    print_facts,
    print_json,
    print_table,
    say,
)
from cdc.errors import CdcError, UsageError

STYLE = {
    "delivered": common.GOOD,
    "retrying": common.SO_SO,
    "parked": common.SO_SO,
    "held": common.SO_SO,
    "dead": common.BAD,
    "expired": common.BAD,
    "dropped": common.FAINT,
}


def register(app: typer.Typer) -> None:
    """Adds the group."""
    group = typer.Typer(
        no_args_is_help=True,
        help="Deliveries: list, inspect, replay, cancel, drop.\n\nA delivery is one change for one "
        "webhook. It is queued, retrying, parked (behind a retrying one) or held (its webhook is "
        "paused), and ends delivered, dead, expired or dropped.",
    )
    group.command("list")(list_)
    group.command("show")(show)
    group.command("replay")(replay.replay)
    group.command("cancel")(cancel.cancel)
    group.command("drop")(replay.drop)
    app.add_typer(group, name="delivery")


def list_(
    ctx: typer.Context,
    webhook: OfWebhook = None,
    company: OfCompany = None,
    event: OfEvent = None,
    state: Annotated[
        str | None,
        typer.Option(
            help="queued, retrying, parked, held, delivered, dead, expired, dropped or waiting "
            "(the first four)."
        ),
    ] = None,
    row: Annotated[
        str | None, typer.Option(metavar="KEY", help="Of the row with this key.")
    ] = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="List at most this many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List deliveries, the newest changes first.

    Those that have ended are searched for one day back, or as far as --since says.
    """
    from cdc.diagnosis import deliveries
    from cdc.postgres.connections import explained

    if state is not None and state not in deliveries.STATES:
        raise UsageError(f"invalid state '{state}': expected {', '.join(deliveries.STATES)}")
    settings = load_settings(ctx)
    company = common.company_key(settings, company)
    wanted = deliveries.DeliveryFilter(
        webhook, company, event, state, moment(since) if since else None, limit, row
    )
    known.refuse_unknown(settings, webhook, company, event)
    with explained(), common.connect(settings) as conn:
        found = deliveries.search(conn, wanted)
    if as_json:
        print_json(found)
        return
    if not found:
        say("No such deliveries." if since else "No such deliveries within the last day.")
        return
    print_table(
        ["id", "change at", "webhook", "event", "action", "key", "state", "tries", "last answer"],
        [
            (
                row["id"],
                row["time"],
                row["webhook"],
                row["event"],
                row["action"],
                row["key"],
                common.styled(row["state"], STYLE.get(row["state"], "")),
                row["tries"],
                row["status"] or row["error"],
            )
            for row in found
        ],
        right="id webhook tries",
    )
    if len(found) == limit:
        say(f"Only the first {limit}; --limit shows more.")


def show(
    ctx: typer.Context,
    delivery: Annotated[
        str, typer.Argument(metavar="ID", help="Number of the delivery, or webhook-id.")
    ],
    as_json: AsJson = False,
) -> None:
    """Show where a delivery is, and all its attempts.

    If several webhooks get the change, all their deliveries are shown.
    """
    from cdc.causes import cause_unresolved
    from cdc.diagnosis import deliveries
    from cdc.postgres.connections import explained

    number, uid = common.delivery_id(delivery)
    with explained(), common.connect(load_settings(ctx)) as conn:
        found = deliveries.trace(conn, number, uid)
        reason = deliveries.unresolved(conn, number) if number and not found else None
    if reason:
        cause = cause_unresolved(reason)
        kept = "has found no company" if cause.code == "unresolved" else "is not captured yet"
        raise CdcError(f"change {delivery} {kept}: {cause.text}", cause.todo)
    if not found:
        raise deliveries.UnknownDelivery(delivery)
    if as_json:
        print_json(found)
        return
    for one in found:
        _show(one)


def _show(one: dict[str, Any]) -> None:
    from cdc.causes import cause_of

    attempts = one["attempts"]
    facts = {name: value for name, value in one.items() if name not in ("attempts", "refs")}
    facts["state"] = common.styled(one["state"], STYLE.get(one["state"], ""))
    facts["refs"] = ", ".join(f"{k}={v}" for k, v in one["refs"].items() if v is not None)
    print_facts({name.replace("_", " "): value for name, value in facts.items()})
    if attempts:
        typer.echo()
        print_table(
            ["try", "at", "outcome", "status", "error", "took", "detail", "answer"],
            [
                (
                    a["try"],
                    a["at"],
                    common.styled(a["outcome"], STYLE.get(a["outcome"], common.SO_SO)),
                    a["status"],
                    a["error"],
                    wording.age(a["duration_ms"] / 1000),
                    a["detail"],
                    wording.one_line(a["excerpt"]),
                )
                for a in attempts
            ],
            right="try status",
        )
        last = attempts[-1]
        if last["error"]:
            cause = cause_of(last["error"], last["status"], last["detail"] or "")
            typer.echo()
            typer.echo(wording.printable(f"cause  {cause.text}"))
            typer.echo(wording.printable(f"do     {cause.todo_for(one['webhook'])}"))
    typer.echo()
