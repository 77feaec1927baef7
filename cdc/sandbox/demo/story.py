"""What happens in the demo, step by step: the suite is used, and what that owes arrives."""

from __future__ import annotations

import asyncio
import time

from cdc.sandbox.demo.ledger import Entry
from cdc.sandbox.demo.protocol import (
    AnswerVideo,
    Candidate,
    Customer,
    DemoRow,
    Note,
    Project,
    Question,
    Rating,
)
from cdc.sandbox.demo.scene import Scene
from cdc.sandbox.demo.show import Show
from cdc.sandbox.demo.stage import BULK, Stage
from cdc.sandbox.demo.writer import created, modified
from cdc.sandbox.receiver import Received, Reply, Script

STEADY = 150
STEADY_PACE = 0.008  # seconds from one transaction of the steady use to the next
READING_PACE = 0.15  # seconds between steps when somebody is looking on

ANN, BEN = Customer(1, 1), Customer(2, 2)
TRAINEES, ENGINEER = Project(1, 10), Project(1, 17)
SAILORS, SMITHS, DIGGERS = Project(2, 20), Project(3, 30), Project(4, 40)
WHY = Question(ENGINEER, 123)
DORA, ERIN, GHOST, PHANTOM = (Candidate(ENGINEER, n) for n in (19, 20, 66, 67))
CARL = Candidate(SAILORS, 21)
VIDEO = AnswerVideo(DORA, WHY, 7)
STARS, CARLS_STARS = Rating(DORA, ANN, 9), Rating(CARL, BEN, 91)
ON_VIDEO, ON_DORA = Note(ANN, VIDEO, DORA, 4), Note(ANN, None, DORA, 5)
APPLICANTS = [Candidate(TRAINEES, 1000 + n) for n in range(1, BULK + 1)]


class Story(Scene):
    """The story. ``tell`` raises Unfinished or DaemonFailed when it cannot go on.

    proof: what was owed by the change that followed the rolled-back ones.
    """

    def __init__(self, stage: Stage, show: Show) -> None:
        super().__init__(stage, show)
        self.proof: list[Entry] = []

    async def tell(self) -> None:
        for step in (
            self._projects,
            self._candidates,
            self._videos,
            self._ratings,
            self._notes,
            self._nobody,
            self._order,
            self._rollback,
            self._failure,
            self._steady,
            self._bulk,
            self._last,
        ):
            await step()
            if self._show.watched:
                await asyncio.sleep(READING_PACE)

    # -- the steps --------------------------------------------------------------------------------

    async def _projects(self) -> None:
        async with self._step("A project is created, and then renamed"):
            await self._once(
                "insert into project (id, company_id, name) values (17, 1, 'Engineer')",
                ENGINEER,
                new=True,
            )
            await self._once("update project set name = 'Senior engineer' where id = 17", ENGINEER)

    async def _candidates(self) -> None:
        async with self._step("A candidate applies, and corrects the name"):
            await self._once(
                "insert into candidate (id, project_id, name) values (19, 17, 'Dora')",
                DORA,
                new=True,
            )
            await self._once("update candidate set name = 'Dora D.' where id = 19", DORA)

    async def _videos(self) -> None:
        async with self._step(
            "An answer on video", "The question itself is no event: nothing is sent for it."
        ):
            await self._once(
                "insert into question (id, project_id, name) values (123, 17, 'Why us?')"
            )
            await self._once(
                "insert into answervideo (id, candidate_id, question_id) values (7, 19, 123)",
                VIDEO,
                new=True,
            )
            await self._once("update answervideo set seconds = 58 where id = 7", VIDEO)

    async def _ratings(self) -> None:
        async with self._step(
            "A rating, and second thoughts", "Two webhooks of this company want ratings."
        ):
            await self._once(
                "insert into rating (id, candidate_id, customer_id, stars) values (9, 19, 1, 4)",
                STARS,
                new=True,
            )
            await self._once("update rating set stars = 5 where id = 9", STARS)

    async def _notes(self) -> None:
        async with self._step(
            "Two notes, one on the video and one on the candidate",
            "The second has no answer video, so the payload says null; the first finds its "
            "candidate by its video.",
        ):
            await self._once(
                "insert into note (id, customer_id, answervideo_id, text) values (4, 1, 7, 'Hm')",
                ON_VIDEO,
                new=True,
            )
            await self._once(
                "insert into note (id, customer_id, candidate_id, text) values (5, 1, 19, 'Call')",
                ON_DORA,
                new=True,
            )
            await self._once("update note set text = 'Very clear' where id = 4", ON_VIDEO)

    async def _nobody(self) -> None:
        async with self._step(
            "Changes that nobody wants",
            "Dune has no webhook, and Blue Harbor none for projects: not a row is written.",
        ):
            await self._once("update project set name = 'Deep diggers' where id = 40", DIGGERS)
            await self._once("update project set name = 'Old sailors' where id = 20", SAILORS)

    async def _order(self) -> None:
        async with (
            self._step(
                "One transaction, three changes of one row",
                "Each is delivered, in this order: the next is sent once the last was accepted.",
            ),
            self._stage.writer.transaction(self._show.sql) as suite,
        ):
            await suite.run(
                "insert into candidate (id, project_id, name) values (20, 17, 'Erin')",
                created(ERIN),
            )
            await suite.run("update candidate set name = 'Erin E.' where id = 20", modified(ERIN))
            await suite.run("update candidate set name = 'Erin F.' where id = 20", modified(ERIN))

    async def _rollback(self) -> None:
        writer, sql = self._stage.writer, self._show.sql
        async with self._step(
            "Rolled back: a transaction, and a savepoint",
            "Only what was committed may be heard of. The last change proves it: it comes after "
            "them, at the same webhooks.",
        ):
            async with writer.transaction(sql, commit=False) as suite:
                await suite.run(
                    "insert into candidate (id, project_id, name) values (66, 17, 'Ghost')",
                    created(GHOST),
                )
                await suite.run("update rating set stars = 1 where id = 9", modified(STARS))
            async with writer.transaction(sql) as suite:
                await suite.run("update candidate set name = 'Dora' where id = 19", modified(DORA))
                async with suite.rolled_back_savepoint():
                    await suite.run(
                        "insert into candidate (id, project_id, name) values (67, 17, 'Phantom')",
                        created(PHANTOM),
                    )
            before = len(self._stage.ledger.entries)
            await self._once("update rating set stars = 4 where id = 9", STARS)
            self.proof = self._stage.ledger.entries[before:]

    async def _failure(self) -> None:
        crm = self._stage.ledger.hooks[2].path
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
            writer, sql = self._stage.writer, self._show.sql
            update = "update candidate set name = '{}' where id = 21"
            await writer.once(
                update.format("Karl"), modified(CARL), sql, kind="retry", answers=(500, 200)
            )
            await writer.once(update.format("Karel"), modified(CARL), sql, kind="retry")
            await self._once("update rating set stars = 4 where id = 91", CARLS_STARS)
        self._stage.receiver.script(crm, Script())

    async def _steady(self) -> None:
        turns: list[tuple[str, DemoRow]] = [
            ("update project set name = 'Engineer {}' where id = 17", ENGINEER),
            ("update rating set stars = 1 + {} % 5 where id = 91", CARLS_STARS),
            ("update candidate set name = 'Dora {}' where id = 19", DORA),
            ("update answervideo set seconds = {} where id = 7", VIDEO),
            ("update rating set stars = 1 + {} % 5 where id = 9", STARS),
            ("update project set name = 'Smiths {}' where id = 30", SMITHS),
            ("update note set text = 'Take {}' where id = 4", ON_VIDEO),
        ]
        async with self._many(
            "A busy moment at three companies",
            f"{STEADY} transactions of one row each, one every {STEADY_PACE * 1000:.0f} ms.",
        ) as bar:
            start = time.perf_counter()
            for number in range(STEADY):
                await asyncio.sleep(start + number * STEADY_PACE - time.perf_counter())
                update, row = turns[number % len(turns)]
                await self._stage.writer.once(update.format(number), modified(row))
                bar()

    async def _bulk(self) -> None:
        async with self._many(
            f"A bulk update: {BULK:,} rows in one statement",
            "While it drains, Blue Harbor's change does not wait behind it.",
        ):
            sql = "update candidate set name = name || ' (invited)' where project_id = 10"
            await self._stage.writer.once(sql, modified(*APPLICANTS), self._show.sql, kind="bulk")
            sql = "update rating set stars = 5 where id = 91"
            await self._stage.beside.once(sql, modified(CARLS_STARS), self._show.sql, kind="beside")

    async def _last(self) -> None:
        async with self._step(
            "A last change for each webhook",
            "Whatever was sent too much before would be here by now.",
        ):
            await self._once("update rating set stars = 3 where id = 9", STARS)
            await self._once("update rating set stars = 2 where id = 91", CARLS_STARS)
            await self._once("update project set name = 'Smiths' where id = 30", SMITHS)
