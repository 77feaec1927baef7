"""`cdc portal-link`: a link to a company's own pages."""

from __future__ import annotations

from typing import Annotated, get_args

import typer

from cdc.cli.common import (
    AsJson,
    company_key,
    load_mapping,
    load_settings,
    print_facts,
    print_json,
    say,
    warn,
)
from cdc.cli.key import transaction
from cdc.errors import UsageError


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("portal-link")(portal_link)


def portal_link(
    ctx: typer.Context,
    company: Annotated[str, typer.Option(help="The company's key in the suite, or its name.")],
    may: Annotated[
        list[str] | None,
        typer.Option(
            metavar="test|replay|manage",
            help="What it allows in addition to looking: send tests; send deliveries again; "
            "register, change and test webhooks. Repeatable.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a link to a company's own pages, for one use.

    The link opens the company's webhooks in a browser, once, within 5 minutes, and signs in for 8
    hours. `cdc serve` must run; CDC_SERVE_URL says how people reach it.
    """
    from cdc.web import sessions
    from cdc.web.sessions import Ability
    from cdc.webhooks.audit import Actor
    from cdc.webhooks.company import doubts

    allowed: set[Ability] = set()
    for one in may or []:
        known = next((ability for ability in get_args(Ability) if ability == one), None)
        if known is None:
            raise UsageError(f"invalid --may: {one!r}", "Expected test, replay or manage.")
        allowed.add(known)
    settings = load_settings(ctx)
    owner = company_key(settings, company) or ""
    for doubt in doubts(settings.database_url, load_mapping(settings), [owner]):
        warn(doubt)
    with transaction(ctx) as conn:
        link, ends = sessions.new_link(conn, Actor.here(), owner, allowed)
    url = sessions.address(settings, link)
    if as_json:
        print_json({"url": url, "expires_at": ends})
        return
    print_facts({"url": url, "expires": ends})
    say("The link works once: the button on its page signs in.")
