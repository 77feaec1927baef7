"""`cdc mapping`: the file that says what the suite's tables mean."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Adds the group."""
    group = typer.Typer(
        no_args_is_help=True,
        help="The mapping file: what the suite's tables mean.\n\nNeeded for suites with other "
        "names of tables and columns; CDC_MAPPING names it, and `cdc config check` checks it.",
    )
    group.callback()(_group)
    group.command("default")(default)
    app.add_typer(group, name="mapping")


def _group() -> None:
    """Keeps it a group, though there is but one command."""


def default() -> None:
    """Print the interview suite's mapping, explained line by line, to begin a new one with."""
    from cdc.mapping import default_mapping

    typer.echo(default_mapping().source, nl=False)
