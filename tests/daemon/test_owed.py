"""The list of what was owed: a client that pages with a cursor sees each delivery exactly once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Any

import psycopg
import pytest

from cdc.daemon.maintenance import prune
from cdc.daemon.store import session
from cdc.diagnosis import owed
from cdc.diagnosis.owed import OwedSpan, Place
from cdc.postgres import connections
from cdc.sandbox.receiver import Script
from cdc.telemetry import Observer
from cdc.webhooks.replay import OUTCOMES, Replay, ReplayFilter
from tests.daemon.running import Log, Running
from tests.daemon.world import World


@dataclass(slots=True)
class Reader:
    """A client of a webhook's list, and what it has seen."""

    conn: psycopg.Connection[Any]
    webhook: int
    place: Place = owed.BEGINNING
    seen: list[Place] = field(default_factory=list)

    def page(self, limit: int) -> OwedSpan:
        found = owed.span(self.conn, self.webhook, self.place, limit)
        assert len(found.owed) <= limit
        assert found.more <= (found.end > self.place), "it would stay there for ever"
        self.seen += [one.place for one in found.owed]
        self.place = found.end
        return found

    def all(self, limit: int = 50) -> OwedSpan:
        while (found := self.page(limit)).more:
            pass
        return found


@dataclass(slots=True)
class Book:
    """What was committed: the place of each delivery, and when COMMIT had returned."""

    committed: dict[Place, datetime] = field(default_factory=dict)
    open: list[tuple[psycopg.Connection[Any], list[Place]]] = field(default_factory=list)

    def begin(self, conn: psycopg.Connection[Any], webhook: int, rows: int, other: int) -> None:
        conn.execute("begin")
        # Rows of the other company lie between.
        conn.execute(
            "insert into candidate (project_id) select 1 + (g %% %s = 0)::int"
            "  from generate_series(1, %s) g",
            [other, rows],
        )
        places = conn.execute(
            "select xid::text::bigint, id from cdc.queue"
            " where xid = pg_current_xact_id() and webhook_id = %s",
            [webhook],
        ).fetchall()
        self.open.append((conn, [Place(*place) for place in places]))

    def end(self, rng: Random, *, commit: bool) -> psycopg.Connection[Any]:
        """Of any open transaction."""
        conn, places = self.open.pop(rng.randrange(len(self.open)))
        conn.execute("commit" if commit else "rollback")
        if commit:
            self.committed |= dict.fromkeys(places, datetime.now(UTC))
        return conn


@pytest.fixture
def writers(world: World) -> Iterator[list[psycopg.Connection[Any]]]:
    made = [psycopg.connect(world.url, autocommit=True) for _ in range(4)]
    yield made
    for conn in made:
        conn.close()


def step(rng: Random, book: Book, reader: Reader, free: list[psycopg.Connection[Any]]) -> None:
    what = rng.random()
    if what < 0.35 and len(free) > 1:
        book.begin(free.pop(), reader.webhook, rng.choice((1, 1, 2, 40)), rng.choice((1, 2, 3)))
    elif what < 0.6 and book.open:
        free.append(book.end(rng, commit=rng.random() < 0.8))
    else:
        found = reader.page(rng.choice((1, 3, 10)))
        missed = [
            place
            for place, ended in book.committed.items()
            if ended < found.final_until and place not in reader.seen
        ]
        assert found.more or not missed


@pytest.mark.parametrize("seed", range(2))
async def test_a_client_sees_each_delivery_once(
    world: World,
    writers: list[psycopg.Connection[Any]],
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
) -> None:
    """Whatever is open, rolled back, delivered, retried, dead or replayed meanwhile; with
    transactions that are larger than what a page looks at."""
    rng = Random(seed)
    monkeypatch.setattr(owed, "QUEUE_SCAN_ROWS", 7)
    hook = await world.hook("candidate")
    await world.hook("candidate", company="2")
    book, free = Book(), list(writers)
    reader = Reader(connections.connect(world.url), hook.id)
    for _ in range(60):
        step(rng, book, reader, free)
    assert reader.seen, "what waits in the queue is in the list"
    world.receiver.script(hook.path, Script(fail_rate=0.3))
    async with Running(world.url, retry_schedule=[0.01], breaker_failures=1000) as daemon:
        await daemon.until("connected")
        for turn in range(80):
            step(rng, book, reader, free)
            await world.run("select")  # the daemon has its turn
            if turn % 20 == 19:
                with Replay(world.url) as again:
                    found = again.find(ReplayFilter(webhook=hook.id, outcomes=OUTCOMES))
                    assert sum(done for _, done in again.run(found, new_id=turn > 40)) >= 0
        while book.open:
            free.append(book.end(rng, commit=True))
        reader.all()
        await world.until("select count(*) = 0 from cdc.queue where webhook_id = %s", hook.id)
    reader.all()
    # From the beginning it is the same.
    second = Reader(reader.conn, hook.id)
    second.all()
    assert second.seen == reader.seen
    whole = owed.span(reader.conn, hook.id, owed.BEGINNING, 10_000)
    assert {one.state for one in whole.owed} <= {"delivered", "dead", "retrying", "parked"}
    reader.conn.close()
    assert sorted(reader.seen) == sorted(book.committed)
    assert reader.seen == sorted(reader.seen)
    assert len(reader.seen) > 50


LOGGED = """
insert into cdc.attempt (slot, at, delivery, xid, uid, webhook_id, layout, action, "time", refs,
                         try, outcome)
select extract(epoch from at)::bigint / 86400 %% 32, at, id, xid, gen_random_uuid(), webhook,
       (select max(id) from cdc.layout), 'm', at, '{b,1,1,1}', 1, outcome
  from unnest(%s::float[], %s::bigint[], %s::xid8[], %s::bigint[], %s::text[])
         o (ago, id, xid, webhook, outcome),
       lateral (select now() - ago * interval '1 day' as at) moment
"""
READ = """
select count(*) from pg_stat_xact_all_tables
 where schemaname = 'cdc' and relname like 'attempt\\_%' and idx_scan > 0
"""


@dataclass(slots=True)
class PastLog:
    """A log of days that have ended, of transactions 10 to 410: what ended when.

    late: days after which a delivery ended, at most; some of them again later, by a replay.
    """

    world: World
    hook: int
    other: int
    rng: Random
    wanted: set[Place] = field(default_factory=set)

    async def fill(self, late: float) -> None:
        rows = []
        for number in range(800):
            place, hook = (
                Place(10 + number // 2, number),
                self.rng.choice([self.hook, self.hook, self.other]),
            )
            ends = [29 - number / 30 - self.rng.uniform(0, late)]
            # Again: soon, or any time later.
            for again, until in ((0.2, ends[0] - late), (0.05, 0.0)):
                if late and self.rng.random() < again:
                    ends.append(self.rng.uniform(until, ends[0]))
            for end in ends:
                outcome = self.rng.choice(["delivered", "expired", "dead", "failed", "delivered"])
                rows.append((max(end, 0.0), number, str(place.xid), hook, outcome))
                if outcome != "failed" and hook == self.hook:
                    self.wanted.add(place)
        await self.world.run(LOGGED, *(list(column) for column in zip(*rows, strict=True)))

    async def prune(self, log_days: int = 30) -> None:
        conn = await session.open_session(self.world.url, "test")
        await prune.run_once(conn, log_days, Observer(log=Log()))
        await conn.close()

    async def add(self, ago: float, place: Place) -> None:
        row = (float(ago), place.number, str(place.xid), self.hook, "delivered")
        await self.world.run(LOGGED, *([value] for value in row))
        self.wanted.add(place)


@pytest.mark.parametrize("late", [0.0, 0.5, 6.0])
async def test_each_is_seen_once_whatever_day_it_ended(world: World, late: float) -> None:
    hook, other = await world.hook("candidate"), await world.hook()
    past = PastLog(world, hook.id, other.id, Random(late))
    await past.fill(late)
    before = Reader(connections.connect(world.url), hook.id)
    before.all(1000)
    assert before.seen == sorted(past.wanted)
    await past.prune()
    assert await world.one("select count(*) from cdc.log_day where webhook_id = 0") == 28
    for limit in (1, 7, 50, 1000):
        reader = Reader(before.conn, hook.id)
        while reader.page(limit).more:
            if limit == 7 and past.rng.random() < 0.2:
                # What was open until now ends today.
                number = 1000 + len(past.wanted)
                await past.add(0, Place(reader.place.xid + past.rng.randrange(1, 100), number))
        assert reader.seen == sorted(past.wanted)
    before.conn.close()


async def test_a_page_ends_where_a_day_begins_that_it_has_not_read(world: World) -> None:
    """What was replayed within a day is one delivery and several rows: they make no full page."""
    past = PastLog(world, (await world.hook("candidate")).id, 0, Random(0))
    for ago, xid in ((20, 10), (20, 10), (20, 10), (15, 100), (10, 200), (0, 400)):
        await past.add(ago, Place(xid, xid))
    await past.prune()
    reader = Reader(connections.connect(world.url), past.hook)
    assert reader.page(3).more
    assert [place.xid for place in reader.seen] == [10, 100]
    reader.all(3)
    assert reader.seen == sorted(past.wanted)
    reader.conn.close()


async def test_a_page_reads_the_days_that_its_place_is_within(world: World) -> None:
    hook, other = await world.hook("candidate"), await world.hook()
    past = PastLog(world, hook.id, other.id, Random(1))
    await past.fill(0.0)

    def read(place: Place, limit: int, since: int = 0) -> Any:
        """Partitions; PostgreSQL counts them for a session's first transaction alone."""
        with connections.connect(world.url) as conn, conn.transaction():
            owed.span(conn, hook.id, place, limit, since)
            return (conn.execute(READ).fetchone() or [None])[0]

    new = 4
    assert read(owed.BEGINNING, 5) == 32
    await past.prune()
    assert [read(Place(xid, 0), 5) for xid in (0, 10, 100, 200)] == [new + 2] * 4
    # A page of more than those have, and the end of the list.
    assert read(owed.BEGINNING, 50) == 32
    assert [read(Place(xid, 0), 50) for xid in (395, 420)] == [new + 1, new]
    assert read(owed.BEGINNING, 5, owed.NO_DAY) == 0
    # Days of which nothing is left.
    await past.prune(log_days=20)
    assert read(owed.BEGINNING, 5) == new + 2


async def test_a_day_that_is_added_to_is_looked_at_again(world: World) -> None:
    """The clock was ahead when something was logged, or a partition was restored."""
    hook, other = await world.hook("candidate"), await world.hook()
    past = PastLog(world, hook.id, other.id, Random(2))
    await past.fill(0.0)
    await past.prune()
    await past.add(12, Place(405, 5000))
    await world.until(
        "select pg_stat_get_tuples_inserted(a.tableoid) > d.added from cdc.attempt a,"
        " cdc.log_day d where delivery = 5000 and d.day % 32 = slot"
    )
    await past.prune()
    reader = Reader(connections.connect(world.url), hook.id)
    reader.all(3)
    assert reader.seen == sorted(past.wanted)
    reader.conn.close()
    # Set back, days are new that had ended.
    open_ = await session.open_session(world.url, "test")
    ((today,),) = await session.run(open_, "log_today")
    await session.run(open_, "log_ended", [today - 2, []])
    assert await world.one("select max(day) from cdc.log_day") == today - 5
    await open_.close()


async def test_what_is_recorded_late_is_not_added_to_a_day_that_has_ended(world: World) -> None:
    """A daemon has waited for the database for a week."""
    hook = await world.hook("candidate")
    await world.run(
        "insert into cdc.retry (webhook_id, id, uid, xid, layout, action, time, refs, event, key,"
        " due_at) select %s, 7, gen_random_uuid(), '30', id, 'm', now(), '{b,1,1,1}', event, '1',"
        " now() from cdc.layout where event = 'candidate_changed'",
        hook.id,
    )
    uid = await world.one("select uid from cdc.retry")
    conn = await session.open_session(world.url, "test")
    ended = [[hook.id], [7], [uid], [2], [200], [1.0], [""], [7 * 86_400.0]]
    await session.run(conn, "settle_recovered", ended)
    ((today,),) = await session.run(conn, "log_today")
    await conn.close()
    assert await world.one("select slot from cdc.attempt") == (today - 1) % 32
