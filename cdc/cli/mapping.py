"""`cdc mapping`: the file that says what the suite's tables mean."""

from __future__ import annotations

from typing import Annotated

import typer

from cdc.cli import common
from cdc.cli.common import load_settings, say


def register(app: typer.Typer) -> None:
    """Adds the group."""
    group = typer.Typer(
        no_args_is_help=True,
        help="The mapping file: what the suite's tables mean.\n\nNeeded if tables or columns have "
        "other names, or if companies have hosts of their own (base_url_column). CDC_MAPPING names "
        "it, and `cdc config check` checks it.",
    )
    group.command("default")(default)
    group.command("init")(init)
    app.add_typer(group, name="mapping")


def default() -> None:
    """Print the interview suite's mapping, explained line by line, as a start for your own."""
    from cdc.mapping import default_mapping

    typer.echo(default_mapping().source, nl=False)


def init(
    ctx: typer.Context,
    company: Annotated[
        str | None, typer.Option(help="The table of the companies. If left out, it is guessed.")
    ] = None,
    base_url: Annotated[
        str | None,
        typer.Option(help="Where the addresses of the suite's API begin. [CDC_BASE_URL]"),
    ] = None,
) -> None:
    """Print a first mapping for the database, drafted from its tables and foreign keys.

    Changes nothing. What is guessed is marked; correct it, then `cdc triggers plan` checks it.
    """
    from cdc.capture.draft import draft
    from cdc.mapping import parse_mapping
    from cdc.postgres.connections import explained

    settings = load_settings(ctx)
    base = base_url or settings.base_url or "https://suite.example/api/"
    with explained(), common.connect(settings) as conn, conn.transaction():
        text = draft(conn, str(base), company)
    mapping = parse_mapping(text, "the draft")
    typer.echo(text, nl=False)
    say(
        f"{len(mapping.resources)} resources. Save it, read it through, set CDC_MAPPING, and run "
        "`cdc triggers plan`."
    )
