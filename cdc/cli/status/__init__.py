"""`cdc status`: is everything arriving, and if not, where is it stuck?

screen.py  the report on one screen (cdc/diagnosis/status.py makes it)
watch.py   repeated, until Ctrl-C
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from cdc.cli import common
from cdc.cli.common import AsJson, load_mapping, load_settings, print_json
from cdc.errors import DatabaseError

if TYPE_CHECKING:
    import psycopg

    from cdc.diagnosis.status import StatusReport


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("status")(status)


def status(
    ctx: typer.Context,
    company: Annotated[
        str | None, typer.Option(help="Only this company: list all its webhooks.")
    ] = None,
    companies: Annotated[
        bool, typer.Option("--companies", help="One line per company instead of per webhook.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Refresh the screen until Ctrl-C.")
    ] = False,
    every: Annotated[
        float, typer.Option(min=0.2, max=3600, help="Seconds between refreshes of --watch.")
    ] = 2.0,
    as_json: AsJson = False,
) -> None:
    """Show at a glance what is late, failing or held.

    Lists the webhooks with something to report, the worst first. Counts stop at 10,000 a webhook
    (less where many have deliveries waiting); a + means that there are more.

    Exit code 1 when something is wrong: capture not installed, no daemon, deliveries that are dead,
    expired, about to expire or older than a minute, changes without a company, suspended webhooks,
    clocks that differ, or a check of `cdc doctor` that fails. With --watch and --json: one line per
    refresh.
    """
    from cdc.cli.status import screen
    from cdc.cli.status import watch as watching
    from cdc.diagnosis.status import read

    settings = load_settings(ctx)
    mapping = load_mapping(settings)
    company = common.company_key(settings, company)

    def look(conn: psycopg.Connection) -> StatusReport:
        return read(conn, settings, mapping, company)

    def connect() -> psycopg.Connection:
        return common.connect(settings)

    if watch:
        watching.run(connect, look, every=every, as_json=as_json, companies=companies)
        return
    seen = _once(connect, look, as_json=as_json)
    if as_json:
        print_json(seen.as_json())
    else:
        common.print_made(screen.drawn(seen, companies=companies))
    if seen.problems:
        raise typer.Exit(1)


def _once(
    connect: Callable[[], psycopg.Connection],
    look: Callable[[psycopg.Connection], StatusReport],
    *,
    as_json: bool,
) -> StatusReport:
    from cdc.diagnosis import capture_state
    from cdc.postgres.connections import explained

    with explained(), connect() as conn:
        try:
            return look(conn)
        except DatabaseError as error:
            if as_json:
                version = capture_state.version(conn)
                print_json({"ok": False, "problems": [error.message], "schema": version})
            raise
