"""The command line. ``app`` is all of it, ``main`` what runs as `cdc`.

Each command or group has a module with ``register(app)``, named in COMMANDS; it is imported when it
is called and not before, so that `cdc --help` is quick.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

from cdc import __version__
from cdc.cli import common, examples, plain_help


class Listed(NamedTuple):
    """A command as `cdc --help` lists it; its line is the first of the command's own help (tested).

    panel: the heading it stands under.
    """

    module: str
    line: str
    panel: str


SETUP, WEBHOOKS, RUNNING, TRYING = "Set up", "Webhooks", "Run and watch", "Try out"

COMMANDS = {
    "migrate": Listed("cdc.cli.migrate", "Install schema cdc, or bring it up to date.", SETUP),
    "triggers": Listed("cdc.cli.triggers", "Capture: triggers on the suite's tables.", SETUP),
    "config": Listed("cdc.cli.config", "Show and check the configuration.", SETUP),
    "mapping": Listed("cdc.cli.mapping", "The mapping file: what the suite's tables mean.", SETUP),
    "adopt": Listed("cdc.cli.adopt", "Declare this database the real one, not a copy.", SETUP),
    "webhook": Listed(
        "cdc.cli.webhook", "Webhooks: register, change, pause, test, remove.", WEBHOOKS
    ),
    "key": Listed("cdc.cli.key", "Keys of the API.", WEBHOOKS),
    "portal-link": Listed(
        "cdc.cli.portal_link", "Make a link to a company's own pages, for one use.", WEBHOOKS
    ),
    "contact": Listed(
        "cdc.cli.contact",
        "Contacts: addresses that get a company's notices by mail.",
        WEBHOOKS,
    ),
    "audit": Listed("cdc.cli.audit", "Show who changed what.", WEBHOOKS),
    "events": Listed(
        "cdc.cli.events", "List the events that a webhook can register for.", WEBHOOKS
    ),
    "catalog": Listed(
        "cdc.cli.catalog",
        "Describe the events and their payloads, for the developers of receivers.",
        WEBHOOKS,
    ),
    "delivery": Listed(
        "cdc.cli.delivery", "Deliveries: list, inspect, replay, cancel, drop.", WEBHOOKS
    ),
    "backfill": Listed(
        "cdc.cli.backfill", "Backfills: send what was there before a webhook.", WEBHOOKS
    ),
    "run": Listed("cdc.cli.run", "Deliver changes until stopped (SIGTERM or Ctrl-C).", RUNNING),
    "serve": Listed("cdc.cli.serve", "Serve API, console and portal until stopped.", RUNNING),
    "status": Listed("cdc.cli.status", "Show at a glance what is late, failing or held.", RUNNING),
    "notice": Listed("cdc.cli.notice", "Notices: webhooks that need attention.", RUNNING),
    "explain": Listed(
        "cdc.cli.explain",
        "Show whether a change has arrived, when, with which answer, or why not.",
        RUNNING,
    ),
    "doctor": Listed("cdc.cli.doctor", "Check the installation, and say what to do.", RUNNING),
    "demo": Listed("cdc.cli.demo", "Show cdc at work, on a PostgreSQL of its own.", TRYING),
    "receive": Listed(
        "cdc.cli.receive",
        "Receive webhooks on this machine, verify their signatures and print them.",
        TRYING,
    ),
}


class _Root(TyperGroup):
    """Knows its commands by name, and errors of ours by their kind."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for name, listed in COMMANDS.items():
            if find_spec(listed.module) is not None:
                self.add_command(TyperCommand(name, help=listed.line, rich_help_panel=listed.panel))
        plain_help.simplify(self)

    # Any: the types of contexts and commands moved from click into typer.
    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        return name, load(name) if name else command, rest

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = common.refused_value(error)
            raise
        except Exception as error:
            ours = common.translated(error)
            if ours is None:
                raise
            common.report(ours)
            raise typer.Exit(ours.exit_code) from None


@cache
def load(name: str) -> Any:
    """The real command of this name."""
    small = typer.Typer()
    import_module(COMMANDS[name].module).register(small)
    command = get_group(small).commands[name]
    examples.show(command, name)
    plain_help.simplify(command)
    return command


app = typer.Typer(
    name="cdc",
    cls=_Root,
    no_args_is_help=True,
    add_completion=True,
    # A traceback with the values of variables would show secrets.
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cdc {__version__}")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Settings file (TOML), or CDC_CONFIG; the environment takes precedence.",
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Every committed change of the interview suite's tables becomes one signed POST.

    Settings come from the environment (CDC_DATABASE_URL and others) or from a file;
    `cdc config show` lists them all.
    """
    ctx.obj = common.Global(config)


def main() -> None:
    """What runs as `cdc`. What a terminal cannot show is replaced: it may be others' text."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # not where it was closed
            stream.reconfigure(errors="replace")
    app(prog_name="cdc")
