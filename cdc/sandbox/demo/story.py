"""What happens in the demo, step by step: the suite is used, and what that owes arrives."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

from cdc.errors import CdcError
from cdc.sandbox.demo import protocol
from cdc.sandbox.demo.book import Writer
from cdc.sandbox.demo.protocol import SuiteRow
from cdc.sandbox.demo.report import Line
from cdc.sandbox.demo.show import Show, milliseconds
from cdc.sandbox.demo.stage import BULK, INTERVIEWED, Stage
from cdc.sandbox.receiver import Received, Reply, Script
from cdc.sandbox.records import Change

STEADY = 150
STEADY_PACE = 0.008  # seconds from one transaction of the steady use to the next
READING_PACE = 0.15  # seconds between steps when a person is looking on
STEP_WITHIN = 40.0
"""Seconds that the deliveries of one step may take in all before the demo gives up."""

_LOOK_EVERY = 0.1  # seconds between looks at what came while a step waits

ANN = protocol.customer(1, 1)
TRAINEES, ENGINEER = protocol.project(1, 10), protocol.project(1, 17)
SAILORS, SMITHS, DIGGERS = (protocol.project(n, n * 10) for n in (2, 3, 4))
DORA, ERIN, GHOST, PHANTOM = (protocol.candidate(ENGINEER, n) for n in (19, 20, 66, 67))
CARL = protocol.candidate(SAILORS, 21)
VIDEO = protocol.answervideo(DORA, protocol.question(ENGINEER, 123), 7)
STARS, CARLS_STARS = protocol.rating(DORA, 9), protocol.rating(CARL, 91)
ON_VIDEO, ON_DORA = protocol.note(DORA, ANN, 4, VIDEO), protocol.note(DORA, ANN, 5)
APPLICANTS = [protocol.candidate(TRAINEES, 1000 + n) for n in range(1, BULK + 1)]


class Do(NamedTuple):
    """A statement in a transaction of its own.

    row:    what it makes or changes.
    became: the status that it gives the row.
    """

    sql: str
    row: SuiteRow | None = None
    became: str = ""


SIMPLE = {
    ("A project is created, and then renamed", ""): (
        Do("insert into project (id, company_id, name) values (17, 1, 'Engineer')", ENGINEER),
        Do("update project set name = 'Senior engineer' where id = 17", ENGINEER),
    ),
    (
        "A candidate applies, is interviewed, and corrects the name",
        "One webhook wants only that the status becomes interviewed (--when, --filter).",
    ): (
        Do("insert into candidate (id, project_id, name) values (19, 17, 'Dora')", DORA),
        Do("update candidate set status = 'interviewed' where id = 19", DORA, INTERVIEWED),
        Do("update candidate set name = 'Dora D.' where id = 19", DORA),
    ),
    ("An answer on video", "A question alone has no event: nothing is sent for it."): (
        Do("insert into question (id, project_id, name) values (123, 17, 'Why us?')"),
        Do("insert into answervideo (id, candidate_id, question_id) values (7, 19, 123)", VIDEO),
        Do("update answervideo set seconds = 58 where id = 7", VIDEO),
    ),
    ("A rating, and second thoughts", "Two webhooks of this company want ratings."): (
        Do("insert into rating (id, candidate_id, customer_id, stars) values (9, 19, 1, 4)", STARS),
        Do("update rating set stars = 5 where id = 9", STARS),
    ),
    (
        "Two notes, one on the video and one on the candidate",
        "The second has no answer video, so the payload says null; the first finds its candidate "
        "by its video.",
    ): (
        Do(
            "insert into note (id, customer_id, answervideo_id, text) values (4, 1, 7, 'Hm')",
            ON_VIDEO,
        ),
        Do(
            "insert into note (id, customer_id, candidate_id, text) values (5, 1, 19, 'Call')",
            ON_DORA,
        ),
        Do("update note set text = 'Very clear' where id = 4", ON_VIDEO),
    ),
    (
        "Changes that no webhook wants",
        "Dune has no webhook, and Blue Harbor none for projects: not a row is written.",
    ): (
        Do("update project set name = 'Deep diggers' where id = 40", DIGGERS),
        Do("update project set name = 'Old sailors' where id = 20", SAILORS),
    ),
}
LAST = (
    Do("update rating set stars = 3 where id = 9", STARS),
    Do("update rating set stars = 2 where id = 91", CARLS_STARS),
    Do("update project set name = 'Smiths' where id = 30", SMITHS),
    Do("update candidate set status = 'interviewed' where id = 1001", APPLICANTS[0], INTERVIEWED),
)
TURNS = (
    Do("update project set name = 'Engineer {}' where id = 17", ENGINEER),
    Do("update rating set stars = 1 + {} % 5 where id = 91", CARLS_STARS),
    Do("update candidate set name = 'Dora {}' where id = 19", DORA),
    Do("update answervideo set seconds = {} where id = 7", VIDEO),
    Do("update rating set stars = 1 + {} % 5 where id = 9", STARS),
    Do("update project set name = 'Smiths {}' where id = 30", SMITHS),
    Do("update note set text = 'Take {}' where id = 4", ON_VIDEO),
)


class Unfinished(CdcError):
    """Something that was owed did not come in time; the account says what."""


class Story:
    """The story. ``play`` raises Unfinished or ProcessFailed when it cannot go on.

    steps: titles of those that were begun.
    proof: the change that followed the rolled-back ones.
    """

    def __init__(self, stage: Stage, show: Show) -> None:
        self._stage = stage
        self._show = show
        self._writer: Writer = stage.writer
        self.steps: list[str] = []
        self.proof: list[Change] = []
        self._came = self._shown = 0  # POSTs before the step; POSTs that were shown

    async def play(self) -> None:
        for (title, note), statements in SIMPLE.items():
            async with self._step(title, note):
                await self._each(*statements)
        await self._order()
        await self._rollback()
        await self._failure()
        await self._steady()
        await self._bulk()
        async with self._step(
            "A last change for each webhook",
            "Whatever was sent too much before would be here by now.",
        ):
            await self._each(*LAST)

    # -- the steps that are not just a few statements -------------------------------------------

    async def _order(self) -> None:
        async with (
            self._step(
                "One transaction, three changes of one row",
                "Each is delivered, in this order: the next is sent once the last was accepted.",
            ),
            self._writer.transaction(self._show.sql) as suite,
        ):
            insert = "insert into candidate (id, project_id, name) values (20, 17, 'Erin')"
            await suite.run(insert, ERIN)
            await suite.run("update candidate set name = 'Erin E.' where id = 20", ERIN)
            await suite.run("update candidate set name = 'Erin F.' where id = 20", ERIN)

    async def _rollback(self) -> None:
        insert = "insert into candidate (id, project_id, name) values ({}, 17, '{}')"
        async with self._step(
            "Rolled back: a transaction, and a savepoint",
            "Only what was committed may arrive. The last change proves it: it comes after them, "
            "at the same webhooks.",
        ):
            async with self._writer.transaction(self._show.sql, commit=False) as suite:
                await suite.run(insert.format(66, "Ghost"), GHOST)
                await suite.run("update rating set stars = 1 where id = 9", STARS)
            async with self._writer.transaction(self._show.sql) as suite:
                await suite.run("update candidate set name = 'Dora' where id = 19", DORA)
                async with suite.rolled_back_savepoint():
                    await suite.run(insert.format(67, "Phantom"), PHANTOM)
            before = len(self._stage.book.changes)
            await self._each(Do("update rating set stars = 4 where id = 9", STARS))
            self.proof = self._stage.book.changes[before:]

    async def _failure(self) -> None:
        crm = f"/{self._stage.book.hooks[2].name}"
        failed: list[str] = []

        def fail_once(got: Received) -> Reply | int:
            if not failed and b'"candidate_changed"' in got.body:
                failed.append(got.uid)
                return Reply(500, b"the CRM is being restarted")
            return 200

        self._stage.receiver.script(crm, Script(answer=fail_once))
        async with self._step(
            "A receiver fails once",
            "Its first POST is answered 500 and comes again, same id and same bytes. The next "
            "change of that row waits for it; a change of another row does not.",
        ):
            self._stage.book.refuse_one()
            for name in ("Karl", "Karel"):
                update = f"update candidate set name = '{name}' where id = 21"  # noqa: S608 - its own
                await self._writer.once(update, CARL, tell=self._show.sql, tag="retry")
            await self._each(Do("update rating set stars = 4 where id = 91", CARLS_STARS))
        self._stage.receiver.script(crm, Script())

    async def _steady(self) -> None:
        async with self._many(
            "A busy moment at three companies",
            f"{STEADY} transactions of one row each, one every {STEADY_PACE * 1000:.0f} ms.",
            live="in all",
        ) as bar:
            start = time.perf_counter()
            for number in range(STEADY):
                await asyncio.sleep(start + number * STEADY_PACE - time.perf_counter())
                sql, row, _ = TURNS[number % len(TURNS)]
                assert row is not None
                await self._writer.once(sql.format(number), row)
                bar()

    async def _bulk(self) -> None:
        async with self._many(
            f"A bulk update: {BULK:,} rows in one statement",
            "While it drains, Blue Harbor's change does not wait behind it.",
            bulk="of the bulk",
            beside="of the one beside it",
        ):
            show = self._show.sql
            sql = "update candidate set name = name || ' (invited)' where project_id = 10"
            await self._writer.once(sql, *APPLICANTS, tell=show, tag="bulk")
            sql = "update rating set stars = 5 where id = 91"
            await self._stage.other_writer.once(sql, CARLS_STARS, tell=show, tag="beside")

    # -- how steps are run ----------------------------------------------------------------------

    @asynccontextmanager
    async def _step(self, title: str, note: str = "") -> AsyncIterator[None]:
        """A step whose POSTs are all shown."""
        self._begin(title, note)
        yield
        await self._arrived(self._show_posts)
        if self._show.watched:
            await asyncio.sleep(READING_PACE)

    @asynccontextmanager
    async def _many(
        self, title: str, note: str = "", **tags: str
    ) -> AsyncIterator[Callable[[], None]]:
        """A step whose POSTs are counted; gives a function that moves the bar.

        tags: of the step's changes, in words.
        """
        self._begin(title, note)
        book, received = self._stage.book, self._stage.receiver.received
        owed, entered = book.posts, len(book.changes)
        with self._show.progress("POSTs") as bar:

            def count() -> None:
                bar(len(received) - self._came, book.posts - owed)

            yield count
            await self._arrived(count)
        changes = set(book.changes[entered:])
        owed_here = [d for d in book.account(received).deliveries if d.change in changes]
        for tag, words in tags.items():
            line = Line.of([d for d in owed_here if d.change.tag == tag])
            self._show.say(_summary(words, line), "magenta")

    async def _each(self, *statements: Do) -> None:
        """Statements, each in a transaction of its own; what it owes is waited for and shown."""
        for sql, row, became in statements:
            rows = [row] if row else []
            await self._writer.once(sql, *rows, tell=self._show.sql, became=became)
            await self._arrived(self._show_posts)

    def _begin(self, title: str, note: str) -> None:
        self.steps.append(title)
        self._show.step(title, note)
        self._came = self._shown = len(self._stage.receiver.received)

    async def _arrived(self, look: Callable[[], None]) -> None:
        """Waits until everything owed so far came and was answered; looks every now and then.

        Raises Unfinished, ProcessFailed.
        """
        receiver, due = self._stage.receiver, self._stage.book.posts
        deadline = time.monotonic() + STEP_WITHIN
        while receiver.answered < due:
            self._stage.daemon.check()
            if time.monotonic() > deadline:
                missing = f"{due - receiver.answered} of {due} POSTs did not come"
                raise Unfinished(f"{missing} within {STEP_WITHIN:.0f} s")
            with suppress(TimeoutError):
                await receiver.wait_for(due, _LOOK_EVERY)
            look()
        look()

    def _show_posts(self) -> None:
        for got in self._stage.receiver.received[self._shown :]:
            if got.status is None:
                return
            self._show.post(got, self._stage.book.latency(got))
            self._shown += 1


def _summary(what: str, line: Line) -> str:
    p50, p99 = milliseconds(line.percentile(0.5)), milliseconds(line.percentile(0.99))
    latency = f"{p50} ms" if len(line.latencies) == 1 else f"p50 {p50} ms, p99 {p99} ms"
    return f"{line.received:,} POST{'s' * (line.received != 1)} {what}: {latency}"
