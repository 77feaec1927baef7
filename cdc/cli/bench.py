"""`cdc bench`: how fast it is, on this machine or on the user's own server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cdc.cli.common import AsJson, load_settings, print_json, say
from cdc.errors import UsageError


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(bench)


def bench(
    ctx: typer.Context,
    workload: Annotated[
        str, typer.Option(metavar="NAMES", help="Only these, with commas: drain,live.")
    ] = "",
    short: Annotated[
        bool, typer.Option("--short", help="Smaller and fewer: about a minute.")
    ] = False,
    on_my_server: Annotated[
        bool,
        typer.Option(
            "--on-my-server",
            help="On the server of CDC_DATABASE_URL, in databases named cdc_bench_* that are made "
            "for it and dropped again. Loads that server fully.",
        ),
    ] = False,
    report_to: Annotated[
        Path | None,
        typer.Option(
            "--report", metavar="FOLDER", help="Also write tables into performance.md there."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure how fast changes become POSTs, beside baselines of the same run.

    Starts a private PostgreSQL, a receiver and the daemon, and touches no
    database that the environment names unless told to. Exits 0 when all
    was measured and nothing was lost.
    """
    from cdc.bench.run import FULL, SHORT, chosen, run

    names = chosen([name.strip() for name in workload.split(",") if name.strip()], short=short)
    if report_to is not None and (short or workload):
        raise UsageError("--report is for a whole run", "Leave out --workload and --short.")
    if report_to is not None:
        from cdc.bench.document import place, write

        place(report_to)  # not only when half an hour has been measured
    theirs = load_settings(ctx).database_url if on_my_server else None
    report = run(names, size=SHORT if short else FULL, theirs=theirs, say=say)
    if report_to is not None:
        write(report, report_to)
    if as_json:
        print_json(report.as_json())
    else:
        from rich.console import Console

        from cdc.bench.report import show

        show(report, Console(highlight=False))
    raise typer.Exit(0 if report.ok else 1)
