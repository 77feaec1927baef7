"""`cdc webhook list` and `show`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cdc.cli import known
from cdc.cli.common import AsJson, company_key, print_facts, print_json, print_table, say, warn
from cdc.cli.webhook.base import WebhookId, changed_in_words, names_of, open_registry, state
from cdc.errors import UsageError
from cdc.model import USUAL_ACTIONS, WebhookState

if TYPE_CHECKING:
    from cdc.webhooks.model import Registration

WEBHOOKS_LISTED = 200
"""Webhooks that are listed unless more are asked for."""


def list_(
    ctx: typer.Context,
    company: Annotated[str | None, typer.Option(help="Only those of this company.")] = None,
    event: Annotated[str | None, typer.Option(help="Only those on this event.")] = None,
    in_state: Annotated[
        str | None, typer.Option("--state", help="active, paused, suspended or removed.")
    ] = None,
    ref: Annotated[str | None, typer.Option(help="Only those with this ref of the API.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="List removed ones, too.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="List at most this many.")] = WEBHOOKS_LISTED,
    as_json: AsJson = False,
) -> None:
    """List webhooks, without secrets, passwords and values of headers.

    The first 200, or as --limit says; --json lists all.
    """
    if in_state is not None and in_state not in list(WebhookState):
        raise UsageError(f"invalid state '{in_state}': expected {', '.join(WebhookState)}")
    registry, settings, mapping = open_registry(ctx)
    company = company_key(settings, company)
    known.refuse_unknown_event(settings, event)
    with registry:
        wanted = WebhookState(in_state) if in_state else None
        most = None if as_json else limit + 1
        found = registry.find(company, event, wanted, ref=ref, removed=all_, most=most)
    names = names_of(settings, mapping, (webhook.company for webhook in found))
    if as_json:
        print_json([{**one.shown(), "company_name": names.get(one.company)} for one in found])
        return
    if not found:
        say("No webhooks." if not (company or event or in_state or ref) else "No such webhooks.")
        return
    print_table(
        ["id", "company", "state", "events", "endpoint", "description"],
        [
            (
                webhook.id,
                _company(webhook, names),
                state(webhook.state),
                _events(webhook),
                webhook.shown()["endpoint"],
                webhook.description,
            )
            for webhook in found[:limit]
        ],
        right="id",
    )
    if len(found) > limit:
        warn(
            f"there are more than {limit} webhooks: --company, --event and --state narrow the "
            "list, --limit makes it longer, --json has all."
        )


def _events(webhook: Registration) -> str:
    """With the action, where not all are sent."""
    only = [] if webhook.actions == USUAL_ACTIONS else list(webhook.actions)
    only += filters(webhook)
    only += [] if webhook.changed is None else [changed_in_words(webhook.changed)]
    only += [f"with {' and '.join(webhook.include)}"] if webhook.include else []
    return ", ".join(webhook.events) + (f" ({', '.join(only)})" if only else "")


def filters(webhook: Registration) -> list[str]:
    """As they are given to --filter."""
    return [f"{name}={','.join(values)}" for name, values in webhook.filter.items()]


def _company(webhook: Registration, names: dict[str, str]) -> str:
    name = names.get(webhook.company)
    return f"{webhook.company} ({name})" if name else webhook.company


def show(ctx: typer.Context, webhook_id: WebhookId, as_json: AsJson = False) -> None:
    """Show everything about a webhook except its secrets."""
    from cdc.webhooks.vault import CannotOpen

    registry, settings, mapping = open_registry(ctx)
    with registry:
        found = registry.get(webhook_id)
        trouble = registry.trouble(webhook_id)
        try:
            secrets = registry.secrets(webhook_id)
        except CannotOpen as error:
            secrets = ()
            warn(f"{error.message}. {error.hint}")
    ends = [secret.expires_at for secret in secrets if secret.expires_at]
    signatures = [str(secret.scheme) for secret in secrets]
    public = [secret.public_key for secret in secrets if secret.public_key]
    names = names_of(settings, mapping, [found.company])
    shown = {
        **found.shown(),
        "company_name": names.get(found.company),
        "trouble": trouble,
        "signatures": signatures,
        "public_keys": public,
        "secrets": len(secrets),
        "old_secret_until": max(ends, default=None),
    }
    if as_json:
        print_json(shown)
        return
    rate = f"{found.rate:g} requests per second" if found.rate else "no limit"
    print_facts(
        {
            **{name: value for name, value in shown.items() if name != "company_name"},
            "company": _company(found, names),
            "events": ", ".join(found.events),
            "actions": ", ".join(found.actions),
            "filter": " ".join(filters(found)),
            "changed": changed_in_words(found.changed),
            "include": ", ".join(found.include),
            "state": state(found.state),
            "cap": f"{found.cap} requests at once",
            "rate": rate,
            "headers": ", ".join(found.headers),
            "signatures": ", ".join(signatures),
            "public_keys": ", ".join(public),
            "secrets": f"{len(secrets)} valid",
        }
    )
