"""`cdc catalog`: the events and their payloads, for the developers of receivers."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from cdc.cli.common import load_mapping, load_settings, print_json
from cdc.errors import UsageError


class Format(StrEnum):
    MARKDOWN = "markdown"
    JSONSCHEMA = "jsonschema"
    OPENAPI = "openapi"


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("catalog")(catalog)


def catalog(
    ctx: typer.Context,
    form: Annotated[
        Format,
        typer.Option(
            "--format", help="For people, as JSON Schema 2020-12, or as OpenAPI 3.1 (webhooks)."
        ),
    ] = Format.MARKDOWN,
    event: Annotated[
        str | None, typer.Option(help="Only this event's schema (with --format jsonschema).")
    ] = None,
) -> None:
    """Describe the events and their payloads, for the developers of receivers.

    Made from the mapping and CDC_BASE_URL; examples are the bytes that are sent.
    """
    from cdc.message import catalog as made
    from cdc.webhooks.checks import known_event

    settings = load_settings(ctx, need_database=False)
    mapping, base = load_mapping(settings), settings.base_url
    if event is not None and form is not Format.JSONSCHEMA:
        raise UsageError("--event needs --format jsonschema", f"It was given with --format {form}.")
    shown: Any
    if form is Format.MARKDOWN:
        typer.echo(made.markdown(mapping, base), nl=False)
        return
    if form is Format.OPENAPI:
        shown = made.openapi(mapping, base)
    elif event is None:
        shown = made.jsonschema(mapping, base)
    else:
        known_event(event, tuple(mapping.events))
        shown = made.schema(mapping, mapping.events[event], base)
    print_json(shown)
