"""All of the demo, from the first line to the exit code, and staying up afterwards."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import sys
import time
from pathlib import Path

import orjson
import psycopg
import uvloop
from rich.console import Console

from cdc import __version__, stop_signals
from cdc.errors import CdcError
from cdc.sandbox.demo import report as made
from cdc.sandbox.demo.report import Report
from cdc.sandbox.demo.show import Show
from cdc.sandbox.demo.stage import Stage
from cdc.sandbox.process import bare_environment

KEPT_LOOK_EVERY_S = 0.2  # at the daemon and at what came, while it stays up


def run(*, keep_up: bool = False, as_json: bool = False, quiet: bool = False) -> int:
    """Runs the demo. Returns the exit code: 0 only if everything owed arrived exactly, and nothing
    else did; 128 and the signal's number if it was stopped in between.

    as_json: print the report as JSON, and nothing else.
    quiet:   print the account only.
    """
    # No database, setting or password of the environment is any business of the demo's.
    for name in os.environ.keys() - bare_environment().keys():
        if not name.startswith("CDC_TEST_"):
            del os.environ[name]
    show = Show(Console(highlight=False, quiet=as_json), quiet=quiet)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code, report = runner.run(_run(show, keep_up))
    if as_json and report:
        sys.stdout.write(orjson.dumps(report, option=orjson.OPT_INDENT_2).decode() + "\n")
    return code


async def _run(show: Show, keep_up: bool) -> tuple[int, Report]:
    began = time.perf_counter()
    task, asked = asyncio.current_task(), list[str]()

    def stop(name: str) -> None:
        """The first signal takes everything down; later ones are ignored."""
        asked.append(name)
        if task is not None and len(asked) == 1:
            task.cancel()

    stop_signals.call(stop)
    report: Report = {}
    try:
        title = f"cdc {__version__}: from a COMMIT in the suite to a POST at every webhook"
        show.say(f"[bold]{title}[/]", 0)
        async with Stage(show) as stage:
            await stage.bring_up()
            problems = await _play(stage, keep_up)
            account = stage.ledger.account(stage.receiver.received)
            report = {
                **made.report(account, stage.ledger.refused, problems),
                "postgres": stage.postgres.version,
                "seconds": round(time.perf_counter() - began, 3),
                "steps": stage.begun,
                "daemon_log": stage.daemon.log_tail().splitlines(),
            }
            show.report(report)
            if keep_up and report["ok"]:
                await _keep(stage, show)
            elif report["ok"]:
                show.say("[dim]With --keep it stays up, with the console and the API, to try.[/]")
    except asyncio.CancelledError:
        if not report:  # else it was only kept up
            stopped = f"Stopped by {asked[0]}; nothing is left behind."
            show.say(f"\n[bold red]{stopped}[/]", always=True)
            return 128 + signal.Signals[asked[0]], report
    return 0 if report["ok"] else 1, report


async def _play(stage: Stage, keep_up: bool) -> list[str]:
    """Returns what went wrong."""
    try:
        await stage.play()
        # What it still has in flight comes before it ends.
        if not keep_up and (code := await asyncio.to_thread(stage.daemon.stop)) != 0:
            return [f"the daemon ended with exit code {code}"]
    except CdcError as error:
        return [error.message]
    except psycopg.Error as error:
        return [f"the suite's own statement failed: {error}".strip()]
    return []


async def _keep(stage: Stage, show: Show) -> None:
    """Shows what arrives until it is stopped. Raises ProcessFailed when the daemon ends."""
    url, key = stage.serve()
    show.how_to_play(_how_to_play(stage, url, key))
    while True:
        stage.daemon.check()
        stage.show_posts()
        await asyncio.sleep(KEPT_LOOK_EVERY_S)


def _how_to_play(stage: Stage, url: str, key: str) -> str:
    """What can be done while it stays up, and below each the line that does it."""
    psql, beside = stage.postgres.bin_dir / "psql", Path(sys.executable).with_name("cdc")
    cdc = shlex.join([str(beside)] if beside.is_file() else [sys.executable, "-m", "cdc"])
    exports = " ".join(f"{name}={shlex.quote(v)}" for name, v in stage.environment.items())
    curl = f"curl -s -H 'Authorization: Bearer '$CDC_API_KEY {url}/v1"
    mine = stage.receiver.url("/mine")
    new = json.dumps({"events": ["project_changed"], "endpoint": mine})
    return f"""
It stays up until Ctrl-C. The suite's database, as its owner:
{shlex.quote(str(psql)) if psql.is_file() else "psql"} {stage.dsn}
Change something there, and see it arrive here:
update rating set stars = 1;
For cdc in another terminal:
export {exports}
One more webhook, received here:
{cdc} webhook add --company 1 --event project_changed --url {mine}
Or a receiver of your own, which can fail on request. Register it in the same way, as \
http://127.0.0.1:8081/, and start it with the secret that this prints:
{cdc} receive --port 8081 --secret whsec_... --fail-first 1
What there is to see:
{cdc} status;  {cdc} webhook list;  {cdc} delivery list
The console, for the helpdesk: open this, and click on Sign in.
{url}/console/sign-in#{key}
A company's own pages, by a link that this prints; it works once, within 5 minutes:
{cdc} portal-link --company 1 --may replay --may manage
An administrator's key, for the API:
export CDC_API_KEY={key}
The API, for programs: the webhooks of a company,
{curl}/companies/1/webhooks
what was sent to the first of them,
{curl}/webhooks/1/deliveries
and a new one, received here:
{curl}/companies/4/webhooks -H 'Content-Type: application/json' -d '{new}'
"""  # noqa: S608 - a statement to copy
