"""The list of what was owed: a client that pages with a cursor sees each delivery exactly once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Any

import psycopg
import pytest

from cdc.diagnosis import owed
from cdc.diagnosis.owed import OwedSpan, Place
from cdc.postgres import connections
from cdc.sandbox.receiver import Script
from cdc.webhooks.replay import OUTCOMES, Replay, ReplayFilter
from tests.daemon.running import Running
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
