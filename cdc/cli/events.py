"""`cdc events`: what a webhook can register for."""

from __future__ import annotations

import typer

from cdc.cli.common import AsJson, load_mapping, load_settings, print_json, print_table


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("events")(events)


def events(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the events that a webhook can register for.

    They are those of the mapping; an event fires when a row of its table is inserted or updated.
    """
    mapping = load_mapping(load_settings(ctx, need_database=False))
    found = mapping.events
    if as_json:
        print_json(
            [
                {
                    "event": event,
                    "table": str(one.table),
                    "data": ["action", *one.data],
                    "fields": None if one.fields is None else list(one.fields),
                }
                for event, one in found.items()
            ]
        )
        return
    filtered = any(one.fields for one in found.values())
    print_table(
        ["event", "table", "data", *(["fields"] if filtered else [])],
        [
            (
                event,
                str(one.table),
                ", ".join(["action", *one.data]),
                *([", ".join(one.fields or ())] if filtered else []),
            )
            for event, one in found.items()
        ],
    )
