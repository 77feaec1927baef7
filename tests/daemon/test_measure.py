"""What a daemon measures of its own backlog: right, bounded, and cheap."""

from __future__ import annotations

import pytest

from cdc.daemon.maintenance import measure
from cdc.daemon.maintenance.measure import Measure
from cdc.daemon.store.session import open_session, open_sessions
from cdc.telemetry import Backlog, Observer
from tests.daemon.running import Log, Running, eventually
from tests.daemon.world import World

ALL = range(64)


async def measured(world: World, shards: range | list[int] = ALL, each: int = 1000) -> Backlog:
    observer = Observer(log=Log())
    conn = await open_session(world.url, "test")
    await Measure(_each=each).run_once(conn, shards, observer)
    await conn.close()
    assert observer.metrics.backlog is not None
    return observer.metrics.backlog


async def owe(world: World, webhook: int, rows: int, age: int = 0) -> None:
    await world.run(
        'insert into cdc.queue (webhook_id, layout, action, "time", refs)'
        " select %s, 1, 'm', clock_timestamp() - %s * interval '1 s', '{7}'"
        " from generate_series(1, %s)",
        *(webhook, age, rows),
    )


async def fail(world: World, table: str, webhook: int, rows: int, age: int, due: str) -> None:
    tries = ", attempts, tries" if table == "dead" else ", due_at"
    value = ", 1, 1" if table == "dead" else f", {due}"
    await world.run(
        f"insert into cdc.{table} (webhook_id, id, uid, xid, layout, action, time, refs, event,"
        f" key{tries}) select %s, n, gen_random_uuid(), '1', 1, 'm',"
        f" clock_timestamp() - %s * interval '1 s', '{{7}}', 'e', n::text{value}"
        " from generate_series(1, %s) n",
        *(webhook, age, rows),
    )


async def test_nothing_waits(world: World) -> None:
    await world.hook()
    assert await measured(world) == Backlog(0, 0, 0, 0, 0, 0, 0.0, 0.0, 0.0, 0.0)


async def test_each_place_is_counted_and_each_age_is_the_oldest(world: World) -> None:
    fine, failing, paused = await world.hook(), await world.hook(), await world.hook(state="paused")
    await owe(world, fine.id, 3, age=10)
    await owe(world, failing.id, 2, age=500)
    await owe(world, paused.id, 4, age=9000)
    await world.run("insert into cdc.lane (webhook_id, breaker) values (%s, 'open')", failing.id)
    await fail(world, "retry", failing.id, 2, 700, "now() + interval '1 hour'")
    await fail(world, "retry", paused.id, 3, 20, "null")
    await fail(world, "dead", failing.id, 5, 90_000, "")
    found = await measured(world)
    assert (found.queued, found.retrying, found.parked) == (9, 2, 3)
    assert (found.held, found.dead) == (7, 5)
    # What a receiver is in the way of is late, but no lag of ours.
    assert 10 <= found.lag < 70
    assert 700 <= found.oldest < 760
    assert 9000 <= found.oldest_held < 9060


async def test_only_shards_of_ones_own_are_measured(world: World) -> None:
    one, other = await world.hook(), await world.hook()
    await owe(world, one.id, 3)
    await owe(world, other.id, 5)
    assert (await measured(world, [one.id % 64])).queued == 3
    assert (await measured(world, [other.id % 64])).queued == 5


async def test_a_receiver_that_wants_to_be_left_alone_is_in_the_way(world: World) -> None:
    hook = await world.hook()
    await owe(world, hook.id, 1, age=100)
    until = "insert into cdc.lane (webhook_id, slow_until) values (%s, now() + interval '%s')"
    await world.run(until.replace("'%s'", "'1 hour'"), hook.id)
    found = await measured(world)
    assert found.lag == 0
    assert found.oldest >= 100


async def test_counts_stop_at_their_bound(world: World) -> None:
    hook = await world.hook()
    await owe(world, hook.id, 500)
    assert (await measured(world, each=200)).queued == 200


async def test_the_bound_and_the_interval_follow_the_cost(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = await world.hook()
    await owe(world, hook.id, 500)
    conn = await open_session(world.url, "test")
    measuring, observer = Measure(_each=100), Observer(log=Log())
    await measuring.run_once(conn, ALL, observer)
    assert measuring.every == measure.MEASURE_EVERY_S
    await measuring.run_once(conn, ALL, observer)
    assert observer.metrics.backlog is not None
    assert observer.metrics.backlog.queued == 500  # one webhook alone is counted further
    monkeypatch.setattr(measure, "MEASURE_SHARE_OF_TIME", 1e-9)
    await measuring.run_once(conn, ALL, observer)
    assert measuring.every > measure.MEASURE_EVERY_S
    await conn.close()


async def test_a_daemon_measures_automatically(world: World) -> None:
    held = await world.hook(state="paused")
    await owe(world, held.id, 7)
    before = open_sessions()
    async with Running(world.url) as daemon:
        metrics = daemon.observer.metrics
        await eventually(lambda: metrics.backlog is not None, "measured")
        assert metrics.backlog is not None
        assert metrics.backlog.held == 7
        page = (await metrics.page()).decode()
        assert 'cdc_waiting{state="queued"} 7.0' in page
        assert open_sessions() - before >= 2
    assert open_sessions() == before
