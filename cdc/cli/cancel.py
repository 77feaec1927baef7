"""`cdc delivery cancel`: give up deliveries that wait, or are dead."""

from __future__ import annotations

from typing import Annotated

import typer

from cdc.cli import common
from cdc.cli.common import AsJson, Yes, load_settings, print_json, say
from cdc.cli.replay import many


def cancel(
    ctx: typer.Context,
    delivery: Annotated[
        str, typer.Argument(metavar="ID", help="Number of the delivery, or webhook-id.")
    ],
    reason: Annotated[str, typer.Option(help="Why; the log keeps it.")] = "",
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Give up a delivery that waits or is dead: it is not sent, and logged as dropped.

    A number means the deliveries of one change to all webhooks, a webhook-id one of them. An
    attempt in flight ends, and is not recorded. What waits behind the delivery is sent next. As
    long as the log has it, `cdc delivery replay --outcome dropped ID` still sends it.
    """
    from cdc.diagnosis import deliveries
    from cdc.postgres.connections import explained
    from cdc.webhooks.replay import Replay

    settings = load_settings(ctx)
    number, uid = common.delivery_id(delivery)
    with explained(), common.connect(settings) as conn:
        found = deliveries.trace(conn, number, uid)
    if not found:
        raise deliveries.UnknownDelivery(delivery)
    open_ = [one for one in found if one["state"] in (*deliveries.WAITING, "dead")]
    done = 0
    if open_:
        common.confirm(f"Cancel {many(len(open_))}?", yes=yes)
        keys = [(one["webhook"], one["id"], one["webhook_id"]) for one in open_]
        with Replay(settings.database_url) as replay:
            done = replay.cancel(keys, "cancelled" + (f": {reason}" if reason else ""))
    if as_json:
        print_json({"cancelled": done})
    elif done:
        say(f"Cancelled {many(done)}.")
    else:
        say("Nothing to cancel: it has ended already.")
