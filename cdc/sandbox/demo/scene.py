"""What the story's steps are made of: do something as the suite, and wait for what that owes."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from cdc.errors import CdcError
from cdc.sandbox.demo.account import Line, draw_up
from cdc.sandbox.demo.protocol import DemoRow
from cdc.sandbox.demo.show import Show, milliseconds
from cdc.sandbox.demo.stage import Stage
from cdc.sandbox.demo.writer import created, modified

STEP_WITHIN = 40.0
"""Seconds that the deliveries of one step may take in all before the demo gives up."""

_LOOK_EVERY = 0.1  # seconds between looks at what came while a step waits

_KINDS = {"live": "in all", "bulk": "of the bulk", "beside": "of the one beside it"}


class Unfinished(CdcError):
    """Something that was owed did not come in time; the account says what."""


class Scene:
    """A stage, somebody looking on, and the ways in which steps are run there.

    steps: titles of those that were begun.
    """

    def __init__(self, stage: Stage, show: Show) -> None:
        self._stage = stage
        self._show = show
        self.steps: list[str] = []
        # Where the step's entries and POSTs begin, and the first POST that was not shown yet.
        self._owed = self._came = self._unshown = 0

    @asynccontextmanager
    async def _step(self, title: str, note: str = "") -> AsyncIterator[None]:
        """A step whose POSTs are all shown."""
        self._begin(title, note)
        yield
        await self._arrived(self._show_posts)

    @asynccontextmanager
    async def _many(self, title: str, note: str = "") -> AsyncIterator[Callable[[], None]]:
        """A step whose POSTs are counted; gives a function that moves the bar."""
        self._begin(title, note)
        receiver, ledger = self._stage.receiver, self._stage.ledger
        with self._show.progress("POSTs") as bar:

            def count() -> None:
                bar(len(receiver.received) - self._came, ledger.posts - self._came)

            yield count
            await self._arrived(count)
        account = draw_up(ledger.entries[self._owed :], (), receiver.received[self._came :])
        for kind, line in account.kinds.items():
            self._show.say(_summary(_KINDS.get(kind, kind), line), "magenta")

    async def _once(self, sql: str, row: DemoRow | None = None, *, new: bool = False) -> None:
        """A statement in a transaction of its own; what it owes is waited for and shown."""
        changes = [] if row is None else created(row) if new else modified(row)
        await self._stage.writer.once(sql, changes, self._show.sql)
        await self._arrived(self._show_posts)

    def _begin(self, title: str, note: str) -> None:
        self.steps.append(title)
        self._show.step(title, note)
        self._owed = len(self._stage.ledger.entries)
        self._came = self._unshown = len(self._stage.receiver.received)

    async def _arrived(self, look: Callable[[], None]) -> None:
        """Waits until everything owed so far came and was answered; looks every now and then.

        Raises Unfinished, DaemonFailed.
        """
        receiver, due = self._stage.receiver, self._stage.ledger.posts
        deadline = time.monotonic() + STEP_WITHIN
        while receiver.answered < due:
            self._stage.daemon.check()
            if time.monotonic() > deadline:
                missing = f"{due - receiver.answered} of {due} POSTs did not come"
                raise Unfinished(f"{missing} within {STEP_WITHIN:.0f} s")
            with suppress(TimeoutError):
                await receiver.wait_for(due, _LOOK_EVERY)
            look()

    def _show_posts(self) -> None:
        received = self._stage.receiver.received
        account = draw_up(self._stage.ledger.entries[self._owed :], (), received[self._came :])
        commits = {
            id(got): arrival.entry.statement.commit
            for arrival in account.arrivals
            for got in arrival.attempts
            if arrival.entry is not None
        }
        for got in received[self._unshown :]:
            if got.status is None:
                return
            commit = commits.get(id(got))
            latency = None if commit is None else got.clock - commit
            self._show.post(got, f"{milliseconds(latency)} ms")
            self._unshown += 1


def _summary(what: str, line: Line) -> str:
    p50, p99 = milliseconds(line.percentile(0.5)), milliseconds(line.percentile(0.99))
    latency = f"{p50} ms" if len(line.latencies) == 1 else f"p50 {p50} ms, p99 {p99} ms"
    return f"{line.received:,} POST{'s' * (line.received != 1)} {what}: {latency}"
