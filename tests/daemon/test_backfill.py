"""Rows that were there before a webhook: all of its company's, each once, beside live changes."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from contextlib import suppress
from random import Random
from typing import Any

import pytest

from cdc.daemon import backfills as daemons
from cdc.daemon.store import session
from cdc.daemon.store.session import open_session, run
from cdc.mapping import default_mapping
from cdc.postgres import connections
from cdc.sandbox.receiver import Received, Script
from cdc.webhooks import backfills
from cdc.webhooks.audit import Actor
from cdc.webhooks.backfills import Backfill, NotNow
from tests.daemon.running import Process, Running, eventually
from tests.daemon.world import Hook, World

ME = Actor("test")


class Work:
    """Candidates of company 1 and 2, a webhook of the first, and a backfill of it."""

    def __init__(self, world: World, hook: Hook) -> None:
        self.world, self.hook = world, hook
        self.gate = asyncio.Event()
        self.engine = connections.engine(world.url)

    @classmethod
    async def of(cls, world: World, rows: int, **columns: Any) -> Work:
        await world.run(
            f"insert into candidate (id, project_id) select g, 1 + g % 2"
            f"  from generate_series(1, {2 * rows}) g"
        )
        return cls(world, await world.hook("candidate", **columns))

    def start(self) -> Backfill:
        with self.engine.begin() as conn:
            return backfills.start(
                conn, ME, default_mapping(), self.hook.id, "candidate_changed", "created"
            )

    def do(self, what: str, number: int = 1) -> Backfill:
        with self.engine.begin() as conn:
            found: Backfill = getattr(backfills, what)(conn, ME, number)
            return found

    def now(self, number: int = 1) -> Backfill:
        with self.engine.begin() as conn:
            return backfills.get(conn, number)

    def shut(self) -> None:
        """The receiver answers nothing until the gate opens."""

        async def answer(_: Received) -> int:
            await self.gate.wait()
            return 200

        self.world.receiver.script(self.hook.path, Script(answer=answer))

    async def looked(self, rows: int) -> None:
        await self.world.until("select looked >= %s from cdc.backfill", rows)

    async def done(self, state: str = "done") -> None:
        await self.world.until("select state = %s from cdc.backfill", state)
        await self.world.settled()

    def came(self) -> list[tuple[str, str]]:
        """Action and key of what came, the first time it did."""
        first = {got.uid: got for got in reversed(self.world.came[self.hook.path])}
        order = sorted(first.values(), key=self.world.came[self.hook.path].index)
        data = [json.loads(got.body)["data"] for got in order]
        return [(one["action"], one["candidate"].rsplit("/", 2)[-2]) for one in data]


async def test_all_rows_of_the_company_come_once(world: World) -> None:
    work = await Work.of(world, 300)
    begun = work.start()
    assert (begun.state, begun.looked, begun.place) == ("running", 0, None)
    async with Running(world.url) as daemon:
        await daemon.log.seen("backfill done", backfill=1)
        await work.done()
    came = work.came()
    assert Counter(came) == {("created", str(key)): 1 for key in range(2, 601, 2)}
    assert world.repeats(work.hook) == 0
    done = work.now()
    assert (done.state, done.looked, done.queued) == ("done", 300, 300)
    assert daemon.observer.counts.swept == 0
    ended = daemon.observer.metrics.registry.get_sample_value
    assert ended("cdc_backfills_ended_total", {"state": "done"}) == 1
    # As all others they can be found, by numbers that distinguish them, and sent again.
    assert await world.one("select count(*) from cdc.attempt where delivery < 0") == 300


async def test_a_killed_daemon_neither_loses_nor_repeats_a_page(world: World) -> None:
    work = await Work.of(world, 400, max_concurrency=2)
    work.start()
    async with Process(world.url, window=60) as daemon:
        await work.looked(50)
        daemon.signal(signal.SIGKILL)
        await daemon.ended()
    assert work.now().state == "running"
    # Another one, which hands over in the middle of it.
    async with Running(world.url, window=60) as first:
        await work.looked(150)
        async with Running(world.url, window=60):
            await first.stop()
            await work.done()
    assert Counter(work.came()) == {("created", str(key)): 1 for key in range(2, 801, 2)}
    assert await world.one("select array[looked, queued] from cdc.backfill") == [400, 400]


async def test_kills_pauses_and_hand_overs_at_any_moment(world: World) -> None:
    """Each row is queued once, whatever happened between two of them; what is sent twice has the
    same id."""
    rng = Random(20261129)
    work = await Work.of(world, 400, max_concurrency=3)
    work.start()
    for paused, killed in ((False, True), (True, True), (True, False)):
        async with Process(world.url, window=40) as daemon:
            await work.looked(min(400, work.now().looked + rng.randint(1, 50)))
            with suppress(NotNow):  # it has ended, if we were slow
                if paused:
                    work.do("pause")
            if killed:
                daemon.signal(signal.SIGKILL)
                await daemon.ended()
        if work.now().state == "paused":
            work.do("resume")
    async with Running(world.url):
        await work.done()
    assert await world.one("select array[looked, queued] from cdc.backfill") == [400, 400]
    assert Counter(work.came()) == {("created", str(key)): 1 for key in range(2, 801, 2)}
    # One delivery for each row: those that came twice were being sent when their daemon died.
    assert len({got.uid for got in world.came[work.hook.path]}) == 400


async def test_pausing_resuming_and_cancelling(world: World) -> None:
    work = await Work.of(world, 40)
    work.shut()
    work.start()
    writer = await world.writer()
    async with Running(world.url, window=20) as daemon:
        # Half a window, and no more until some of them are done.
        await work.looked(10)
        assert await world.one("select count(*) from cdc.queue") == 10
        gauge = daemon.observer.metrics.registry.get_sample_value
        await eventually(
            lambda: gauge("cdc_backfills", {"state": "backlogged"}) == 1, "no more fit"
        )
        assert work.do("pause").state == "paused"
        work.gate.set()
        await world.settled()
        await writer.change("candidate", "1")
        await writer.change("candidate", "2")
        await world.receiver.wait_for(11)
        assert work.now().looked == 10
        assert work.do("resume").state == "running"
        await work.looked(25)
        assert work.do("cancel").ended_at is not None
        await world.settled()
        await eventually(
            lambda: gauge("cdc_backfills", {"state": "backlogged"}) == 0, "none goes on"
        )
        looked = work.now().looked
        assert looked < 40
        assert len(work.came()) == looked + 1


async def test_live_changes_go_first_and_rows_keep_their_order(world: World) -> None:
    work = await Work.of(world, 40, max_concurrency=1)
    work.shut()
    work.start()
    writer = await world.writer()
    async with Running(world.url, window=20) as daemon:
        await work.looked(10)
        await eventually(lambda: bool(world.came[work.hook.path]), "the first is being sent")
        # The keys as text: 10, 12, 14 ... 26 wait behind one that is being sent, 8 is not read yet.
        for key in ("26", "8", "10", "26"):
            await writer.change("candidate", key)
        await eventually(lambda: daemon.app._state().in_memory == 14, "they are in memory")
        work.gate.set()
        await work.done()
    first = [("created", "10"), ("created", "26"), ("modified", "26"), ("modified", "8")]
    assert work.came()[:6] == [*first, ("modified", "10"), ("modified", "26")]
    assert Counter(work.came())["created", "8"] == 1
    assert len(work.came()) == 44


async def test_rows_that_are_not_wanted_take_no_turns(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten went at a time, whether they were sent or not."""
    monkeypatch.setattr(daemons, "TURN_EVERY_S", 3600.0)
    work = await Work.of(world, 300)
    work.start()
    await world.run("update cdc.subscription set actions = 'm'")
    async with Running(world.url):
        await work.done()
    assert await world.one("select array[looked, queued] from cdc.backfill") == [300, 0]


async def test_a_row_whose_change_is_being_retried(world: World) -> None:
    """It is parked with it, before it."""
    work = await Work.of(world, 5)
    world.receiver.script(work.hook.path, Script(fail_first=1, per_id=False))
    writer = await world.writer()
    async with Running(world.url, retry_schedule=[1], retry_jitter=0) as daemon:
        await writer.change("candidate", "4")
        await world.until("select exists (select from cdc.retry)")
        work.start()
        await work.done()
        assert daemon.observer.counts.swept == 0
    assert Counter(work.came()) == {
        ("modified", "4"): 1,
        **{("created", str(key)): 1 for key in range(2, 11, 2)},
    }


async def test_a_removed_webhook_ends_it(world: World) -> None:
    work = await Work.of(world, 40)
    work.shut()
    work.start()
    async with Running(world.url, window=20) as daemon:
        await work.looked(10)
        await world.run("update cdc.webhook set state = 'removed'; delete from cdc.subscription")
        await daemon.log.seen("backfill cancelled", backfill=1)
        work.gate.set()
        await world.until("select not exists (select from cdc.queue)")
    assert work.now().reason == "its webhook was removed"


async def test_what_cannot_be_read_fails_and_can_be_resumed(world: World) -> None:
    work = await Work.of(world, 40)
    work.start()
    await world.run("alter table candidate rename project_id to its_project")
    async with Running(world.url) as daemon:
        await daemon.log.seen("backfill failed", backfill=1)
        assert "column own.project_id does not exist" in work.now().reason
        await world.run("alter table candidate rename its_project to project_id")
        work.do("resume")
        await work.done()
    assert len(work.came()) == 40


async def test_pages_that_take_too_long_get_shorter(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server ends a page of 2,000 rows each time, and of a quarter of that none."""
    monkeypatch.setitem(session._SESSION, "statement_timeout", "800ms")
    monkeypatch.setattr(daemons, "READ_SLOW_S", 0.5)
    work = await Work.of(world, 40)
    work.start()
    await world.run(
        "alter function cdc.read_backfill rename to read_at_once;"
        " create function cdc.read_backfill(job bigint, resource text, most int)"
        " returns table (place text[], layout int, refs text) language plpgsql security definer"
        " as $$ begin perform pg_sleep(most * 0.0006);"
        " return query select * from cdc.read_at_once(job, resource, most); end $$"
    )
    async with Running(world.url):
        await work.done()
    assert len(work.came()) == 40


async def test_rows_that_land_late_are_not_queued(world: World) -> None:
    """Of another owner's epoch, from another place, of a backfill or webhook that has ended."""
    work = await Work.of(world, 4)
    work.start()
    conn = await open_session(world.url, "test")
    epoch = await world.one("select epoch from cdc.shard where id = %s", work.hook.id)
    layout = await world.one("select id from cdc.layout limit 1")

    async def land(epoch: int = epoch, place: list[str] | None = None) -> bool:
        rows = [[layout], ["{NULL,1,1,2}"]]
        asked = [1, work.hook.id, epoch, place, ["1", "1", "2"], False, 1, *rows]
        [(done, _)] = await run(conn, "backfill_queue", asked)
        return bool(done)

    assert not await land(epoch + 1)
    assert not await land(place=["1", "1", "1"])
    work.do("pause")
    assert not await land()
    work.do("resume")
    assert await land()
    assert not await land()
    await world.run("update cdc.webhook set state = 'removed'")
    assert not await land(place=["1", "1", "2"])
    await conn.close()
    assert await world.all("select id < 0, refs from cdc.queue") == [(True, [None, "1", "1", "2"])]
