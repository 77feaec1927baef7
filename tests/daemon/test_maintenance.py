"""Care: what is held or dead too long goes, the log stays small, nothing is forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

import psycopg
import pytest

from cdc.daemon.maintenance import Maintenance, schedule, sweep
from cdc.daemon.store.session import Connection, open_session
from cdc.lanes import Lane
from cdc.model import Span
from cdc.telemetry import Observer
from cdc.telemetry.repeats import Repeats
from tests.daemon.running import Log, Running
from tests.daemon.world import World


@pytest.fixture
def observer() -> Observer:
    return Observer(log=Log())


class Lanes:
    """Lanes that know nothing, and note what the sweep reports."""

    def __init__(self) -> None:
        self.released: list[tuple[int, int]] = []
        self.asked: list[int] = []

    def removed(self) -> list[int]:
        return []

    def dropped(self, webhook_id: int) -> None: ...

    def missing(self, webhook_id: int, delivery_id: int, uid: str) -> bool:
        return True

    def noticed(self, webhook_id: int, where: Span) -> None:
        self.released.append((webhook_id, where.first))

    def touched(self, webhook_ids: Iterable[int]) -> None:
        self.asked += webhook_ids

    def shards(self) -> list[int]:
        return list(range(64))

    def epochs(self) -> Mapping[int, int]:
        return dict.fromkeys(self.shards(), 1)

    def succeeding(self) -> list[int]:
        return []


async def _swept(world: World, lanes: Lanes, observer: Observer, conn: Connection) -> int:
    await sweep.run_once(conn, lanes, observer)
    return observer.counts.swept


async def test_the_sweep_finds_rows_that_no_lane_holds(world: World, observer: Observer) -> None:
    hook = await world.hook()
    writer = await world.writer()
    await writer.insert("candidate", project_id=1)
    lanes = Lanes()
    conn = await open_session(world.url, "test")
    assert await _swept(world, lanes, observer, conn) == 0
    await world.run("update cdc.queue set time = time - interval '90 s'")
    assert await _swept(world, lanes, observer, conn) == 1
    assert lanes.released == [(hook.id, await world.one("select id from cdc.queue"))]
    await conn.close()


async def test_the_sweep_frees_what_is_parked_without_a_retry(
    world: World, observer: Observer
) -> None:
    hook = await world.hook()
    for number in (7, 8):
        await world.run(
            "insert into cdc.retry (webhook_id, id, uid, xid, layout, action, time, refs, event,"
            " key, moved_at) select %s, %s, gen_random_uuid(), '1', id, 'm', now(), '{}',"
            " 'candidate_changed', 'x', now() - interval '90 s' from cdc.layout limit 1",
            hook.id,
            number,
        )
    lanes = Lanes()
    conn = await open_session(world.url, "test")
    assert await _swept(world, lanes, observer, conn) == 1
    assert lanes.asked == [hook.id]
    assert await world.all("select id from cdc.retry where due_at <= clock_timestamp()") == [(7,)]
    # Behind a retry now, the other one is left alone.
    assert await _swept(world, lanes, observer, conn) == 1
    await conn.close()


async def test_the_sweep_reports_to_the_lane(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that a look has missed, by whatever magic, is sent after all."""
    monkeypatch.setattr(schedule, "SWEEP_EVERY_S", 0.1)
    hook = await world.hook()
    writer = await world.writer()
    monkeypatch.setattr(Lane, "noticed", lambda *_: None)
    async with Running(world.url) as daemon:
        await daemon.until("connected")
        key = await writer.insert("candidate", project_id=1)
        await world.run("update cdc.queue set time = time - interval '2 minutes'")
        await daemon.until("sweep found a row that no lane held", webhook=hook.id)
        monkeypatch.undo()
        await world.receiver.wait_for(1)
        await writer.change("candidate", key)
        await world.receiver.wait_for(2)


async def test_a_connection_that_cannot_be_had_is_tried_again_without_hurry(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0

    async def refuse(*_: object) -> Connection:
        nonlocal tries
        tries += 1
        raise psycopg.OperationalError("too many connections")

    monkeypatch.setattr(schedule, "open_session", refuse)
    log = Log()
    maintenance = Maintenance(
        world.url, Observer(log=log, repeats=Repeats(first=0.0)), 14, 14, 14, 5
    )
    maintenance.resolve_soon()
    task = asyncio.create_task(maintenance.run(Lanes()))
    await log.seen("maintenance failed")
    maintenance.resolve_soon()
    await log.seen("maintenance failed", times=2)
    # It sleeps now; who cannot connect must not try as fast as it can.
    for _ in range(100):
        await asyncio.sleep(0)
    task.cancel()
    assert tries == 2


async def test_what_can_never_be_captured_does_not_keep_the_rest(world: World) -> None:
    """More of it than is tried at a time, of a resource that no mapping has any more."""
    hook = await world.hook("candidate")
    await world.run(
        "alter table candidate drop constraint candidate_project_id_fkey;"
        "insert into cdc.unresolved (resource, source, action, time, own, reason)"
        " select 'gone', 'gone', 'c', now(), '{}', 'x' from generate_series(1, 600);"
        "insert into candidate (id, project_id) values (1000, 1000)"
    )
    await world.run("insert into project (id, company_id) values (1000, 1)")
    async with Running(world.url):
        await world.until("select not exists (select from cdc.unresolved where resource <> 'gone')")
        await world.receiver.wait_for(1)
    assert len(world.came[hook.path]) == 1
    assert await world.one("select min(tries) from cdc.unresolved") > 0
