"""`cdc webhook test`: one signed POST, at once, past queue and daemon."""

from __future__ import annotations

import asyncio
import time
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from cdc.cli.common import AsJson, connect, print_facts, print_json, say, warn
from cdc.cli.webhook.base import WebhookId, open_registry
from cdc.errors import CdcError, UsageError
from cdc.wording import age

if TYPE_CHECKING:
    from cdc.mapping import Mapping
    from cdc.model import Delivery, Outcome, Request, Webhook
    from cdc.settings import Settings

ACTION = "test"
KEY = "0"
"""Stands for every row in a test's URLs; no row of the suite has it."""


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
    from cdc.causes import cause_of
    from cdc.message.payload import Translator
    from cdc.message.signing import Sealer
    from cdc.model import NOTICE_EVENT, Answer

    registry, settings, mapping = open_registry(ctx)
    with registry:
        webhook = registry.sendable(webhook_id)
        events = registry.get(webhook_id).events
    if event is not None and event not in events:
        raise UsageError(
            f"webhook {webhook_id} has no event '{event}'", f"It has: {', '.join(events)}."
        )
    known = (*mapping.events, NOTICE_EVENT)
    chosen = event or next((name for name in events if name in known), None)
    if chosen is None:
        raise CdcError(f"webhook {webhook_id} has no event that the mapping has")
    _warn_of_clock(settings)
    delivery = _delivery(mapping, webhook, chosen)
    sealer = Sealer(webhook)
    body = Translator(mapping, settings.base_url).body(delivery, sealer.url)
    request = sealer.seal(delivery, body, int(time.time()))
    outcome = asyncio.run(_send(settings, request))
    good = outcome.answer is Answer.SUCCESS
    cause = None if good else cause_of(outcome.error or "", outcome.status, outcome.detail)
    if as_json:
        print_json(
            {
                "ok": good,
                "id": webhook_id,
                "webhook_id": delivery.uid,
                "event": chosen,
                "status": outcome.status,
                "error": outcome.error,
                "detail": outcome.detail,
                "cause": cause and cause.code,
                "todo": cause and cause.todo_for(webhook_id),
                "duration_ms": round(outcome.duration * 1000, 1),
                "answer": outcome.excerpt,
                "body": body.decode(),
            }
        )
    else:
        print_facts(
            {
                "webhook-id": delivery.uid,
                "body": body.decode(),
                "status": outcome.status,
                "problem": cause and cause.text,
                "do": cause and cause.todo_for(webhook_id),
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


def _delivery(mapping: Mapping, webhook: Webhook, event: str) -> Delivery:
    from cdc.mapping import plan_joins
    from cdc.mapping.model import COMPANY
    from cdc.model import NOTICE_EVENT, NOTICE_FIELDS, NOTICE_LAYOUT, Delivery, Layout

    if event == NOTICE_EVENT:
        layout = Layout(NOTICE_LAYOUT, NOTICE_EVENT, NOTICE_FIELDS)
    else:
        layout = plan_joins(mapping, mapping.events[event]).layout
    known = {"base": None, COMPANY: webhook.company}
    return Delivery(
        id=0,
        webhook_id=webhook.id,
        xid=0,
        uid=str(uuid.uuid4()),
        layout=layout,
        action=ACTION,
        time=datetime.now(UTC),
        refs=tuple(known.get(field, KEY) for field in layout.fields),
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
