"""`cdc run`: the daemon."""

from __future__ import annotations

import asyncio
import resource

import typer

from cdc.cli.common import load_settings
from cdc.settings import Settings


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(run)


def run(ctx: typer.Context) -> None:
    """Deliver changes until stopped (SIGTERM or Ctrl-C).

    Runs in the foreground and logs to stderr. Start as many as you like, on one host or many: they
    share the webhooks among themselves.
    """
    import uvloop

    from cdc.observe import configure_logging

    settings = load_settings(ctx)
    configure_logging(settings.log_format, settings.log_level)
    _more_files()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(settings))


async def _run(settings: Settings) -> None:
    from cdc.app import App, run_until_signalled

    await run_until_signalled(App(settings))


def _more_files() -> None:
    """Each request under way needs a file descriptor; take what the system lets us have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
