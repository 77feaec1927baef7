"""`cdc webhook test`: one signed POST, at once, past queue and daemon."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated

import typer

from cdc.cli.common import AsJson, connect, print_facts, print_json, say, warn
from cdc.cli.webhook.base import WebhookId, open_registry
from cdc.errors import CdcError, UsageError
from cdc.wording import age

if TYPE_CHECKING:
    from cdc.model import Outcome, Request
    from cdc.settings import Settings


def send_test(
    ctx: typer.Context,
    webhook_id: WebhookId,
    event: Annotated[
        str | None, typer.Option(help="Which of its events; the first if left out.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Send one signed test POST to a webhook, and print the result. Exit code 1 if it failed.

    The body has the protocol's form; its action is "test", and its URLs name rows with the key 0,
    which do not exist. Nothing is queued or logged; paused webhooks can be tested too.
    """
    from cdc.message.payload import Translator
    from cdc.message.signing import Sealer
    from cdc.message.trial import event_to_test, trial_delivery, trial_result

    registry, settings, mapping = open_registry(ctx)
    with registry:
        webhook = registry.sendable(webhook_id)
        events = registry.get(webhook_id).events
    if event is not None and event not in events:
        raise UsageError(
            f"webhook {webhook_id} has no event '{event}'", f"It has: {', '.join(events)}."
        )
    chosen = event or event_to_test(mapping, webhook_id, events)
    _warn_of_clock(settings)
    delivery = trial_delivery(mapping, webhook, chosen)
    sealer = Sealer(webhook)
    body = Translator(mapping, settings.base_url).body(delivery, sealer.url)
    request = sealer.seal(delivery, body, int(time.time()))
    outcome = asyncio.run(_send(settings, request))
    result = trial_result(delivery, outcome)
    good = result.pop("ok")
    if as_json:
        uid, answer = result.pop("uid"), result.pop("excerpt")
        facts = {"ok": good, "id": webhook_id, "webhook_id": uid, **result}
        print_json({**facts, "answer": answer, "body": body.decode()})
    else:
        print_facts(
            {
                "webhook-id": delivery.uid,
                "body": body.decode(),
                "status": outcome.status,
                "problem": result["sentence"],
                "do": result["todo"],
                "answer": outcome.excerpt,
                "time": age(outcome.duration),
            }
        )
        say("Delivered." if good else "Not delivered.")
    if not good:
        raise typer.Exit(1)


def _warn_of_clock(settings: Settings) -> None:
    """What is signed with a wrong time is refused, and the receiver rarely says why."""
    from cdc.postgres.advisory_locks import CLOCK_OFF_S

    began = time.time()
    with connect(settings) as conn:
        row = conn.execute("select extract(epoch from clock_timestamp())::float8").fetchone()
    assert row is not None
    off = (began + time.time()) / 2 - row[0]
    if abs(off) >= CLOCK_OFF_S:
        side = "ahead of" if off > 0 else "behind"
        warn(
            f"this host's clock is {age(abs(off))} {side} the database's, and the request is "
            "signed with it: receivers refuse times that are off by more than 5 min"
        )


async def _send(settings: Settings, request: Request) -> Outcome:
    from cdc.deliver import Client, Unable

    client = Client.of(settings)
    try:
        return await client.post(request)
    except Unable as error:
        raise CdcError(f"this machine cannot connect: {error}") from None
    finally:
        await client.close()
