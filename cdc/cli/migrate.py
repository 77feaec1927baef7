"""`cdc migrate`: schema cdc by Alembic."""

from __future__ import annotations

from typing import Annotated

import typer

from cdc.cli.common import AsJson, load_settings, print_json, say


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("migrate")(migrate)


def migrate(
    ctx: typer.Context,
    sql: Annotated[
        bool,
        typer.Option("--sql", help="Print all that an installation would run, and run nothing."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Install schema cdc, or bring it up to date.

    One transaction; no table of the suite is touched. Needs a superuser, or an account that may
    create roles and schemas.
    """
    from cdc import migrations

    if sql:
        text = migrations.offline_sql()
        if as_json:
            print_json({"sql": text})
        else:
            typer.echo(text)
        return
    before, after = migrations.upgrade(_as_url(load_settings(ctx).database_url))
    if as_json:
        print_json({"before": before, "after": after, "changed": before != after})
    elif before == after:
        say(f"Nothing to do: schema cdc has version {after} already.")
    else:
        came = f"brought from version {before} to {after}" if before else f"installed ({after})"
        say(f"Schema cdc is {came}. Next: `cdc triggers plan`, then `cdc triggers install`.")


def _as_url(address: str) -> str:
    """SQLAlchemy reads URLs only; libpq's keyword form becomes one."""
    if "://" in address:
        return address
    import sqlalchemy as sa
    from psycopg.conninfo import conninfo_to_dict

    query = {name: str(value) for name, value in conninfo_to_dict(address).items()}
    return sa.URL.create("postgresql", query=query).render_as_string(hide_password=False)
