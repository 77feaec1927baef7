"""`cdc audit`: what was changed, and by whom."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cdc.cli.common import AsJson, load_settings, moment, print_json, print_table
from cdc.cli.key import transaction


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("audit")(audit)


def audit(
    ctx: typer.Context,
    company: Annotated[str | None, typer.Option(help="Only changes of this company.")] = None,
    webhook: Annotated[int | None, typer.Option(help="Only changes of this webhook.")] = None,
    actor: Annotated[
        str | None, typer.Option(help="Only changes by this actor: key:<id>, cli:<user>@<host>.")
    ] = None,
    action: Annotated[
        str | None, typer.Option(help="Only this action, e.g. webhook.update.")
    ] = None,
    since: Annotated[str | None, typer.Option(help="Only entries since then: 30m, 7d.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Entries at most.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show who changed what.

    Changes of webhooks, secrets and keys, replays, and changes of the installation; by the API,
    by commands, and by daemons that suspend a webhook; the newest first. Nothing secret is in it.
    """
    from cdc.cli.known import refuse_unknown_webhook
    from cdc.webhooks.audit import AuditFilter, entries

    if webhook is not None:
        refuse_unknown_webhook(load_settings(ctx), webhook)
    wanted = AuditFilter(
        company=company,
        webhook=webhook,
        actor=actor,
        action=action,
        since=moment(since) if since else None,
        limit=limit,
    )
    with transaction(ctx) as conn:
        found = entries(conn, wanted)
    if as_json:
        print_json(found)
        return
    print_table(
        ["at", "actor", "source", "action", "company", "webhook", "change"],
        [
            [row["at"], row["actor"], row["source"], row["action"], row["company"],
             row["webhook_id"], _change(row["before"] or {}, row["after"] or {})]
            for row in found
        ],
        right="webhook",
    )  # fmt: skip


def _change(before: dict[str, Any], after: dict[str, Any]) -> str:
    parts = [
        f"{name}: {_value(before[name])} -> {_value(value)}"
        if name in before
        else f"{name}: {_value(value)}"
        for name, value in after.items()
        if value not in (None, "", {}, []) or before.get(name)
    ]
    return "; ".join(parts)


def _value(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(str(one) for one in value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value in (None, "", {}) else str(value)
