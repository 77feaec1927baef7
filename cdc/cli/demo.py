"""`cdc demo`: from a COMMIT to a POST, to watch."""

from __future__ import annotations

from typing import Annotated

import typer

from cdc.cli.common import AsJson


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(demo)


def demo(
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep everything running afterwards, until Ctrl-C.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print only the closing account.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show cdc at work, on a PostgreSQL of its own.

    Starts a private PostgreSQL with a small interview suite in it, a
    receiver and the daemon, uses the suite, and compares every POST with
    what the suite's own ledger says is owed. Exits 0 only if everything
    owed arrived exactly and nothing else did. Touches no database that
    the environment names, and leaves nothing behind.
    """
    from cdc.sandbox.demo.run import run

    if keep and as_json:
        raise typer.BadParameter("--keep is for people, --json for programs: choose one")
    raise typer.Exit(run(keep_up=keep, as_json=as_json, quiet=quiet))
