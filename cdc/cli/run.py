"""`cdc run`: the daemon."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import sys
import traceback
from typing import TYPE_CHECKING, Annotated

import typer

from cdc.cli import common
from cdc.cli.common import load_settings
from cdc.errors import CdcError
from cdc.guides import located

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from cdc.deliver.trust import Trust
    from cdc.settings import Settings
    from cdc.telemetry import Observer
    from cdc.telemetry.logfile import LogFile


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(run)


def run(
    ctx: typer.Context,
    processes: Annotated[
        int,
        typer.Option(min=1, max=64, help="Daemons to run side by side, under one parent process."),
    ] = 1,
    # The number of this process, where it has a parent.
    child: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Deliver changes until stopped (SIGTERM or Ctrl-C).

    Runs in the foreground and logs to stderr. Start as many as you like, on one host or many: they
    divide the webhooks among themselves.
    """
    from cdc.telemetry import configure_logging

    form = os.environ.get("CDC_LOG_FORMAT", "auto").strip()
    try:
        try:
            settings = load_settings(ctx, warned=True)
        except CdcError:
            configure_logging(form if form in ("json", "text") else "auto", process=child)
            raise
        form = settings.log_format
        log_file = configure_logging(form, settings.log_level, child)
        _start(ctx, settings, processes, child, log_file)
    except Exception as error:
        _end_in_the_log(error, form)
        raise


def _end_in_the_log(error: Exception, form: str) -> None:
    """Where the log is JSON, so is its last line: what people read of an error is for a terminal.

    Raises typer.Exit then.
    """
    from cdc.telemetry import Observer, is_json

    ours = common.translated(error)
    if ours is not None and is_json(form):
        Observer().cannot_run(ours.message, located(ours.hint))
        raise typer.Exit(ours.exit_code) from None


def _start(
    ctx: typer.Context, settings: Settings, processes: int, child: int | None, log_file: LogFile
) -> None:
    from cdc.deliver.trust import Trust
    from cdc.diagnosis.exposed_files import exposed
    from cdc.telemetry import Observer

    _more_files()
    observer = Observer(log_file=log_file)
    _no_core()
    if child is not None:
        _run_as_child(_daemon(settings, observer, of_parent=True))
        return
    for left_out in settings.left_out:
        observer.left_out(left_out.message, left_out.hint)
    for one in exposed(settings):
        observer.exposed(str(one.path), one.message, one.hint)
    trust = Trust.of(settings)
    if (none := trust.authorities()) is not None:
        observer.no_authorities(none.message, none.hint)
    if processes == 1:
        _run(_daemon(settings, observer, trust))
    else:
        _run(_parent(ctx, settings, processes, observer))


def _run(work: Coroutine[object, object, None]) -> None:
    import uvloop

    common.keep_modules()
    # Rows come by the thousand, a dozen objects each, none of them in a circle: at a quarter of
    # this, all that waited was looked through 17 times in 60,000 deliveries, 23 ms each time.
    gc.set_threshold(200_000, 50, 100)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


def _run_as_child(work: Coroutine[object, object, None]) -> None:
    """Lets the parent distinguish a crash, after which it starts another one, from a refusal."""
    from cdc.daemon.supervisor import DEFECT_EXIT_CODE

    try:
        _run(work)
    except Exception as error:
        if common.translated(error) is not None:
            raise
        traceback.print_exc()
        sys.exit(DEFECT_EXIT_CODE)


async def _daemon(
    settings: Settings, observer: Observer, trust: Trust | None = None, *, of_parent: bool = False
) -> None:
    from cdc.daemon.app import App, run_until_signalled

    app = App(settings, observer, trust, of_parent=of_parent)
    if not of_parent:
        await run_until_signalled(app)
        return
    from cdc.daemon.supervisor import until_parent_ends

    async def follow() -> None:
        await until_parent_ends(app.take)
        app.stop("its parent has ended")

    following = asyncio.create_task(follow())
    try:
        await run_until_signalled(app)
    finally:
        following.cancel()


async def _parent(
    ctx: typer.Context, settings: Settings, processes: int, observer: Observer
) -> None:
    from cdc.cli.common import load_mapping
    from cdc.daemon.supervisor import Supervisor, run_until_signalled

    load_mapping(settings)  # what is wrong with it is reported once, not by each of them
    given = ctx.find_object(common.Global) or common.Global()
    arguments = [] if given.config is None else ["--config", str(given.config)]
    await run_until_signalled(Supervisor(settings, processes, arguments, observer))


def _more_files() -> None:
    """Each request in flight needs a file descriptor; take what the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _no_core() -> None:
    """A crash leaves nothing of our memory on a disk: there are secrets in it."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    # One byte, less than any: with none at all Linux still hands it to a program, if so configured.
    least = 1 if hard == resource.RLIM_INFINITY else min(1, hard)
    resource.setrlimit(resource.RLIMIT_CORE, (least, hard))
