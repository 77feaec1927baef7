"""All of the demo, from the first line to the exit code."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time

import orjson
import psycopg
import uvloop
from rich.console import Console

from cdc import __version__
from cdc.errors import CdcError
from cdc.sandbox.demo.keep import keep
from cdc.sandbox.demo.report import DemoReport
from cdc.sandbox.demo.show import Show
from cdc.sandbox.demo.stage import Stage, in_thread
from cdc.sandbox.demo.story import ROWS, Story
from cdc.sandbox.process import ProcessFailed


class Stop:
    """SIGINT, SIGTERM and SIGHUP: end the demo, once; whatever comes while cleaning up is ignored.

    gently: set by them instead, once the story has ended and the demo is only kept up.
    """

    def __init__(self) -> None:
        self.number = 0
        self.gently: asyncio.Event | None = None
        self._task = asyncio.current_task()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._come, number)

    def _come(self, number: int) -> None:
        if self.gently is not None:
            self.gently.set()
        elif not self.number and self._task is not None:
            self.number = number
            self._task.cancel()


def run(*, keep_up: bool = False, as_json: bool = False, quiet: bool = False) -> int:
    """Runs the demo. Returns the exit code: 0 only if everything owed arrived exactly, and nothing
    else did; 128 and the signal's number if it was stopped in between.

    as_json: print the report as JSON, and nothing else.
    quiet:   print the account only.
    """
    # No database, setting or password of the environment is any business of the demo's.
    for name in list(os.environ):
        if name.startswith(("CDC_", "PG")) and not name.startswith("CDC_TEST_"):
            del os.environ[name]
    show = Show(Console(highlight=False, quiet=as_json), quiet=quiet)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code, report = runner.run(_run(show, keep_up))
    if as_json and report is not None:
        sys.stdout.write(orjson.dumps(report.as_json(), option=orjson.OPT_INDENT_2).decode() + "\n")
    return code


async def _run(show: Show, keep_up: bool) -> tuple[int, DemoReport | None]:
    stop = Stop()
    began = time.perf_counter()
    report = DemoReport()
    try:
        show.title(f"cdc {__version__}: from a COMMIT in the suite to a POST at every webhook")
        async with Stage(show, ROWS) as up:
            await _play(up, show, report, keep_up=keep_up, began=began)
            if keep_up and report.ok:
                stop.gently = asyncio.Event()
                await keep(up, show, stop.gently)
            elif report.ok:
                show.say("With --keep it stays up, with the console and the API, to try.", "dim")
    except asyncio.CancelledError:
        if not stop.number:
            raise
        name = signal.Signals(stop.number).name
        show.verdict(False, f"Stopped by {name}; nothing is left behind.")
        return 128 + stop.number, None
    except CdcError as error:
        # The stage did not come up, or the daemon ended while it was only kept up.
        report.problems.append(error.message)
        if isinstance(error, ProcessFailed):
            report.log = error.hint
            show.verdict(False, error.message)
            show.log(report.log)
        else:
            show.verdict(False, f"{error.message}\n{error.hint}".rstrip())
    report.seconds = report.seconds or time.perf_counter() - began
    return 0 if report.ok else 1, report


async def _play(up: Stage, show: Show, report: DemoReport, *, keep_up: bool, began: float) -> None:
    report.postgres = up.postgres.version
    story = Story(up, show)
    try:
        await story.play()
        report.finished = True
        # What it still has in flight comes before it ends.
        if not keep_up and (code := await in_thread(up.daemon.stop)) != 0:
            report.problems.append(f"the daemon ended with exit code {code}")
    except CdcError as error:
        report.problems.append(error.message)
    except psycopg.Error as error:
        report.problems.append(f"the suite's own statement failed: {error}".strip())
    report.close(up.ledger.account(up.receiver.received), up.ledger)
    report.steps = story.begun
    report.seconds = time.perf_counter() - began
    if not report.ok:
        report.log = up.daemon.log_tail()
    show.report(report)
