"""`cdc serve`: the API."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cdc.cli import common
from cdc.cli.common import load_settings
from cdc.errors import CdcError
from cdc.guides import located

if TYPE_CHECKING:
    from cdc.settings import Settings
    from cdc.telemetry.serve import RequestObserver


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(serve)


def serve(
    ctx: typer.Context,
    bootstrap_key_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A file with a key that is valid from now on, of scope admin; without such a "
            "file a key is made and written there.",
        ),
    ] = None,
) -> None:
    """Serve API, console and portal until stopped.

    Registers, shows and changes webhooks over HTTP; a daemon (`cdc run`) delivers. Stops at SIGTERM
    or Ctrl-C. Start as many as you like. The account needs the role cdc_serve.
    """
    from cdc.telemetry import configure_logging, is_json

    form = os.environ.get("CDC_LOG_FORMAT", "auto").strip()
    try:
        try:
            settings = load_settings(ctx, warned=True)
        except CdcError:
            configure_logging(form if form in ("json", "text") else "auto")
            raise
        form = settings.log_format
        configure_logging(form, settings.log_level)
        _run(settings, bootstrap_key_file)
    except Exception as error:
        ours = common.translated(error)
        if ours is not None and is_json(form):
            _observer().log.error("cannot run", error=ours.message, hint=located(ours.hint))
            raise typer.Exit(ours.exit_code) from None
        raise


def _observer() -> RequestObserver:
    from cdc.telemetry.serve import RequestObserver

    return RequestObserver()


def _run(settings: Settings, bootstrap_key: Path | None) -> None:
    import uvloop

    from cdc.web.app import ServeApp, run_until_signalled

    async def work() -> None:
        await run_until_signalled(ServeApp(settings, _observer(), bootstrap_key))

    for left_out in settings.left_out:
        common.warn(f"{left_out.message}. {left_out.hint}")
    common.keep_modules()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work())
