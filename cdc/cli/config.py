"""`cdc config`: what the settings are and where they come from."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from cdc.cli.common import (
    FAINT,
    AsJson,
    load_mapping,
    load_settings,
    print_json,
    print_table,
    say,
    styled,
    warn,
)
from cdc.errors import ConfigError


def register(app: typer.Typer) -> None:
    """Adds the group."""
    group = typer.Typer(no_args_is_help=True, help="Show and check the configuration.")
    group.command("show")(show)
    group.command("check")(check)
    group.command("default")(default)
    group.command("new-key")(new_key)
    app.add_typer(group, name="config")


def show(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Show all settings, their values without passwords, and where each comes from."""
    from cdc.settings import describe, values

    settings = load_settings(ctx, need_database=False)
    keys = {key.name: key for key in describe()}
    found = values(settings)
    if as_json:
        print_json(
            {v.name: {"value": v.value, "source": v.source, "env": keys[v.name].env} for v in found}
        )
        return
    print_table(
        ["setting", "value", "source", "environment"],
        [
            (
                v.name,
                v.value,
                styled(v.source, FAINT if v.source == "default" else ""),
                keys[v.name].env,
            )
            for v in found
        ],
    )
    if settings.config_path is not None:
        say(f"The file is {settings.config_path}.")
    say("docs/configuration.md explains each.")


def new_key(as_json: AsJson = False) -> None:
    """Make a key for CDC_SECRET_KEYS, which encrypts the secrets in the database."""
    from cdc.webhooks import vault

    made = vault.new_key()
    if as_json:
        print_json({"key": made})
        return
    typer.echo(made)
    say(
        "Put it first in CDC_SECRET_KEYS, for commands and daemons alike, and keep a copy apart "
        "from the database. Then: `cdc webhook reencrypt-secrets`."
    )


def default() -> None:
    """Print a settings file with every key, its meaning, range and default, all commented out."""
    from cdc.settings import default_file

    typer.echo(default_file(), nl=False)


def check(
    ctx: typer.Context,
    as_json: AsJson = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse CDC_ variables that are not settings.")
    ] = False,
) -> None:
    """Check settings and mapping file, without touching the database."""
    from cdc.deliver.guard import Guard
    from cdc.deliver.trust import Trust
    from cdc.diagnosis.exposed_files import exposed
    from cdc.telemetry import check_traces

    settings = load_settings(ctx, warned=True)
    for one in settings.left_out:
        if strict and one.unknown:
            raise ConfigError(one.message, one.hint)
        warn(f"{one.message}. {one.hint}")
    mapping = load_mapping(settings)
    Guard.of(settings)
    trust = Trust.of(settings)
    for doubt in trust.doubts([None, *trust.names()], datetime.now(UTC)):
        if doubt.bad:
            raise ConfigError(doubt.message, doubt.hint)
        warn(doubt.message)
    if (none := trust.authorities()) is not None:
        warn(f"{none.message}. {none.hint}")
    for file in exposed(settings):
        warn(f"{file.message}. {file.hint}")
    if settings.traces:
        check_traces()
    events = list(mapping.events)
    if as_json:
        print_json({"ok": True, "events": events, "fingerprint": mapping.fingerprint})
        return
    say(f"Settings and mapping are valid. Events: {', '.join(events)}.")
