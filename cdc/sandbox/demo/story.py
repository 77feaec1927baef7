"""What happens in the demo, step by step: the suite is used, and what that owes arrives."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, Self

from cdc.errors import CdcError
from cdc.sandbox.demo.protocol import row
from cdc.sandbox.demo.report import Line
from cdc.sandbox.demo.show import Show, milliseconds
from cdc.sandbox.demo.stage import BULK, CRM, Stage
from cdc.sandbox.receiver import Received, Reply, Script

STEADY = 150
STEADY_PACE_S = 0.008
READING_PACE_S = 0.15  # between steps when a person is looking on
STEP_WITHIN_S = 40.0
"""Seconds that the POSTs of one step may take before the demo gives up."""

_LOOK_EVERY_S = 0.1  # at what came while a step waits

_DORA = "projects/17/candidates/19"
ROWS = {
    (made.event, made.key): made
    for made in (
        *(row(1, "projects/17"), row(2, "projects/20"), row(3, "projects/30")),
        row(4, "projects/40"),
        *(row(1, f"projects/17/candidates/{key}") for key in (19, 20, 66, 67)),
        *(row(1, f"projects/10/candidates/{1000 + n}") for n in range(1, BULK + 1)),
        row(2, "projects/20/candidates/21"),
        row(1, f"{_DORA}/answervideos/7", "projects/17/questions/123"),
        *(row(1, f"{_DORA}/ratings/9"), row(2, "projects/20/candidates/21/ratings/91")),
        row(1, f"{_DORA}/notes/4", "customers/1", f"{_DORA}/answervideos/7"),
        row(1, f"{_DORA}/notes/5", "customers/1"),
    )
}


FAILING = "A receiver fails once"
STEADILY = "A busy moment at three companies"
IN_BULK = f"A bulk update: {BULK:,} rows in one statement"
STORY = f"""
-- A project is created, and then renamed
insert into project (id, company_id, name) values (17, 1, 'Engineer')
update project set name = 'Senior engineer' where id = 17

-- A candidate applies, is interviewed, and corrects the name
-- One webhook wants only that the status becomes interviewed (--when, --filter).
insert into candidate (id, project_id, name) values (19, 17, 'Dora')
update candidate set status = 'interviewed' where id = 19
update candidate set name = 'Dora D.' where id = 19

-- An answer on video
-- A question alone has no event: nothing is sent for it.
insert into question (id, project_id, name) values (123, 17, 'Why us?')
insert into answervideo (id, candidate_id, question_id) values (7, 19, 123)
update answervideo set seconds = 58 where id = 7

-- A rating, and second thoughts
-- Two webhooks of this company want ratings.
insert into rating (id, candidate_id, customer_id, stars) values (9, 19, 1, 4)
update rating set stars = 5 where id = 9

-- Two notes, one on the video and one on the candidate
-- The first finds its candidate by its video; the second has none, so the payload says null.
insert into note (id, customer_id, answervideo_id, text) values (4, 1, 7, 'Hm')
insert into note (id, customer_id, candidate_id, text) values (5, 1, 19, 'Call')
update note set text = 'Very clear' where id = 4

-- Changes that no webhook wants
-- Dune has no webhook, and Blue Harbor none for projects: not a row is written.
update project set name = 'Deep diggers' where id = 40
update project set name = 'Old sailors' where id = 20

-- One transaction, three changes of one row
-- Each is delivered, in this order: the next is sent once the last was accepted.
begin
insert into candidate (id, project_id, name) values (20, 17, 'Erin')
update candidate set name = 'Erin E.' where id = 20
update candidate set name = 'Erin F.' where id = 20
commit

-- Rolled back: a transaction, and a savepoint
-- Only what was committed may arrive. A later change at the same webhooks proves it.
begin
insert into candidate (id, project_id, name) values (66, 17, 'Ghost')
update rating set stars = 1 where id = 9
rollback
begin
update candidate set name = 'Dora' where id = 19
savepoint second_thoughts
insert into candidate (id, project_id, name) values (67, 17, 'Phantom')
rollback to savepoint second_thoughts
commit
update rating set stars = 4 where id = 9

-- {FAILING}
-- The first POST is answered 500 and comes again: same id, same bytes. Only its row waits.
update candidate set name = 'Karl' where id = 21
update candidate set name = 'Karel' where id = 21
update rating set stars = 4 where id = 91

-- {STEADILY}
-- {STEADY} transactions of one row each, one every {STEADY_PACE_S * 1000:.0f} ms.
update project set name = 'Engineer {{n}}' where id = 17
update rating set stars = 1 + {{n}} % 5 where id = 91
update candidate set name = 'Dora {{n}}' where id = 19
update answervideo set seconds = {{n}} where id = 7
update rating set stars = 1 + {{n}} % 5 where id = 9
update project set name = 'Smiths {{n}}' where id = 30
update note set text = 'Take {{n}}' where id = 4

-- {IN_BULK}
-- While it drains, Blue Harbor's change does not wait behind it.
update candidate set name = name || ' (invited)' where project_id = 10
update rating set stars = 5 where id = 91

-- A last change for each webhook
-- Whatever was sent too much before would be here by now.
update rating set stars = 3 where id = 9
update rating set stars = 2 where id = 91
update project set name = 'Smiths' where id = 30
update candidate set status = 'interviewed' where id = 1001
"""  # noqa: S608 - its own
"""Steps, each with its title, perhaps a note, and its statements: one a line, in a transaction of
its own where none is open."""


class Scene(NamedTuple):
    """A step of the story: its title, a note, its statements."""

    title: str
    note: str
    sql: list[str]

    @classmethod
    def of(cls, text: str) -> Self:
        said = [line[3:] for line in text.splitlines() if line.startswith("--")]
        sql = text.splitlines()[len(said) :]
        return cls(said[0], " ".join(said[1:]), sql)

    @property
    def counted(self) -> bool:
        """Whether its POSTs are counted, not shown."""
        return self.title in (STEADILY, IN_BULK)


class Unfinished(CdcError):
    """Something that was owed did not come in time; the account says what."""


class Story:
    """The story. ``play`` raises Unfinished or ProcessFailed when it cannot go on.

    begun: titles of the steps that were begun.
    """

    def __init__(self, stage: Stage, show: Show) -> None:
        self._stage = stage
        self._show = show
        self.begun: list[str] = []
        self._received = stage.receiver.received
        self._shown = 0  # POSTs that were shown

    async def play(self) -> None:
        for step in map(Scene.of, STORY.strip().split("\n\n")):
            self.begun.append(step.title)
            self._show.step(step.title, step.note)
            self._shown = len(self._received)
            entered = len(self._stage.ledger.changes)
            if step.title == FAILING:
                self._stage.ledger.refuse_one()
                self._stage.receiver.script(CRM, Script(answer=_refuse_one()))
            await (self._steady(step) if step.title == STEADILY else self._each(step))
            if step.counted:
                self._sum_up(entered)
            if self._show.watched:
                await asyncio.sleep(READING_PACE_S)

    async def _each(self, step: Scene) -> None:
        """Runs each statement and shows the POSTs it owes, or all together at the end."""
        look = (lambda: None) if step.counted else self._show_posts
        failing = step.title == FAILING
        for sql in step.sql:
            self._show.sql(sql)
            await self._stage.suite.run(sql, "retry" if failing else "live")
            if not (step.counted or failing or self._stage.suite.in_transaction):
                await self._arrived(look)
        await self._arrived(look)

    async def _steady(self, step: Scene) -> None:
        """Runs the statements in turns, at a steady pace."""
        start = time.perf_counter()
        for n in range(STEADY):
            await asyncio.sleep(start + n * STEADY_PACE_S - time.perf_counter())
            await self._stage.suite.run(step.sql[n % len(step.sql)].format(n=n))
        await self._arrived(lambda: None)

    def _sum_up(self, entered: int) -> None:
        """The latencies of the changes from this one on."""
        changes = set(self._stage.ledger.changes[entered:])
        account = self._stage.ledger.account(self._received)
        for tag, words in (("bulk", "of the bulk update"), ("live", "of changes of one row")):
            owed = [d for d in account.deliveries if d.change in changes and d.change.tag == tag]
            if owed:
                of = Line.of(owed)
                p50, p99 = milliseconds(of.p50_ms), milliseconds(of.p99_ms)
                latency = f"{p50} ms" if of.received == 1 else f"p50 {p50} ms, p99 {p99} ms"
                posts = f"{of.received:,} POST{'s' * (of.received != 1)}"
                self._show.say(f"{posts} {words}: {latency}", "magenta")

    async def _arrived(self, look: Callable[[], None]) -> None:
        """Waits until everything owed so far came and was answered; looks every now and then.

        Raises Unfinished, ProcessFailed.
        """
        receiver, due = self._stage.receiver, self._stage.ledger.due
        deadline = time.monotonic() + STEP_WITHIN_S
        while receiver.answered < due:
            self._stage.daemon.check()
            if time.monotonic() > deadline:
                missing = f"{due - receiver.answered} of {due} POSTs did not come"
                raise Unfinished(f"{missing} within {STEP_WITHIN_S:.0f} s")
            with suppress(TimeoutError):
                await receiver.wait_for(due, _LOOK_EVERY_S)
            look()
        look()

    def _show_posts(self) -> None:
        for got in self._received[self._shown :]:
            if got.status is None:
                return
            self._show.post(got, self._stage.ledger.latency(got))
            self._shown += 1


def _refuse_one() -> Callable[[Received], Reply | int]:
    """Answers 500 to the first POST of a candidate."""
    refused: list[str] = []

    def answer(got: Received) -> Reply | int:
        if not refused and b'"candidate_changed"' in got.body:
            refused.append(got.uid)
            return Reply(500, b"the CRM is being restarted")
        return 200

    return answer
