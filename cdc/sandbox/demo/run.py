"""The demo from its first line to the exit code: the suite at work, its POSTs, the account."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

import psycopg
import uvloop
from rich.console import Console

from cdc import __version__, stop_signals
from cdc.errors import CdcError
from cdc.sandbox.demo import story
from cdc.sandbox.demo.ledger import Ledger, Report
from cdc.sandbox.demo.show import Show
from cdc.sandbox.demo.stage import Stage
from cdc.sandbox.process import bare_environment
from cdc.sandbox.records import Change

SCENE_WITHIN_S = 40.0
"""Seconds that the POSTs of a scene may take before the demo gives up."""
LOOK_EVERY_S = 0.1  # at what came, and at the daemon


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
    show = Show(Console(highlight=False), quiet=quiet, as_json=as_json)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(show, keep_up))


async def _run(show: Show, keep_up: bool) -> int:
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
        async with Stage() as stage:
            async for what, detail in stage.bring_up():
                show.part(what, detail)
                # What brings it up blocks the loop, which learns here of a signal to stop.
                await asyncio.sleep(0.001)
            show.hooks(story.HOOKS)
            play = Play(stage, show)
            problems = await play.run(keep_up)
            report = {
                **play.ledger.report(stage.receiver.received, problems),
                "postgres": stage.postgres.version,
                "seconds": round(time.perf_counter() - began, 3),
                "steps": play.begun,
                "daemon_log": stage.daemon.log_tail().splitlines(),
            }
            show.report(report)
            if keep_up and report["ok"]:
                show.how_to_play(stage, *stage.serve())
                await play.watch()
            elif report["ok"]:
                show.say("[dim]With --keep it stays up, with the console and the API, to try.[/]")
    except asyncio.CancelledError:
        if not report:  # else it was only kept up
            stopped = f"Stopped by {asked[0]}; nothing is left behind."
            show.say(f"\n[bold red]{stopped}[/]", always=True)
            return 128 + signal.Signals[asked[0]]
    return 0 if report["ok"] else 1


class Play:
    """The story, played on a stage that is up.

    begun: titles of the scenes that were begun.
    """

    def __init__(self, stage: Stage, show: Show) -> None:
        self.ledger = Ledger(story.HOOKS, story.ROWS)
        self.begun: list[str] = []
        self._stage = stage
        self._show = show

    async def run(self, keep_up: bool) -> list[str]:
        """All scenes. Returns what went wrong, apart from the deliveries."""
        try:
            await self._scenes()
            # What the daemon still has in flight comes before it ends.
            if not keep_up and (code := await asyncio.to_thread(self._stage.daemon.stop)) != 0:
                return [f"the daemon ended with exit code {code}"]
        except CdcError as error:
            return [error.message]
        except psycopg.Error as error:
            return [f"the suite's own statement failed: {error}".strip()]
        return []

    async def _scenes(self) -> None:
        for scene in story.SCENES:
            self.begun.append(scene.title)
            self._show.scene(len(self.begun), scene)
            self.ledger.refused += scene.kind == "retry"
            start = time.perf_counter()
            for number, statements in enumerate(scene.transactions):
                if scene.kind == "steady":
                    await asyncio.sleep(start + number * story.STEADY_PACE_S - time.perf_counter())
                else:
                    self._show.sql(statements)
                await self._transact(statements, scene.kind)
                if scene.kind == "live":
                    await self.watch(self.ledger.due(), SCENE_WITHIN_S)
            counted = story.COUNTED.get(scene.kind)
            await self.watch(self.ledger.due(), SCENE_WITHIN_S, counted)
            if counted is not None:
                owed = self.ledger.account(self._stage.receiver.received).deliveries
                self._show.counted([d for d in owed if d.change.tag == scene.kind])

    async def _transact(self, statements: Sequence[str], tag: str) -> None:
        """Runs a transaction of the suite, and enters its changes in the ledger.

        The connection begins it at its first statement: `begin` and `commit` are only shown.
        """
        suite, made, at_savepoint = self._stage.suite, list[Change](), 0
        for sql in statements:
            match sql.split():
                case ["insert", "into", table, *_]:
                    made += await self._write(sql, table, "created", tag)
                case ["update", table, *_]:
                    made += await self._write(sql, table, "modified", tag)
                case ["savepoint", _]:
                    await suite.execute(sql.encode())
                    at_savepoint = len(made)
                case ["rollback", *_]:
                    await suite.execute(sql.encode())
                    self.ledger.enter(made[at_savepoint:], committed=False)
                    del made[at_savepoint:]
        # Before the server can know: nothing arrives that is not entered, and no latency is too
        # short.
        self.ledger.enter(made, committed=True, done=time.perf_counter())
        await suite.commit()

    async def _write(self, sql: str, table: str, action: str, tag: str) -> list[Change]:
        """Runs a statement. Returns its changes of rows that have an event."""
        since = time.time_ns() // 1000
        # Bytes, because psycopg wants no text that was put together; all of it is the demo's own.
        cursor = await self._stage.suite.execute(f"{sql} returning id::text".encode())
        until = time.time_ns() // 1000 + 1
        became = sql.partition("status = '")[2].partition("'")[0]
        rows = [self.ledger.rows.get((f"{table}_changed", str(key))) async for (key,) in cursor]
        return [
            Change(*row[:3], action, 0, since, until, 0.0, False, tag, became)
            for row in rows
            if row is not None
        ]

    async def watch(
        self, due: int = sys.maxsize, within_s: float = math.inf, counted: bytes | None = None
    ) -> None:
        """Shows the POSTs that are answered, until ``due`` of them were.

        counted: what is in those that are too many to show.

        Raises CdcError when the daemon ends, or when it takes longer than ``within_s``.
        """
        receiver, answered = self._stage.receiver, self._stage.answered
        deadline = time.monotonic() + within_s
        while True:
            while answered:
                got = answered.popleft()
                if counted is None or counted not in got.body:
                    self._show.post(got)
            if receiver.answered >= due:
                return
            self._stage.daemon.check()
            if time.monotonic() > deadline:
                missing = f"{due - receiver.answered} of {due} POSTs"
                raise CdcError(f"{missing} did not come within {within_s:.0f} s")
            with suppress(TimeoutError):
                await receiver.wait_for(due, LOOK_EVERY_S)
