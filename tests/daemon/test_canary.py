"""The canary goes the whole road, tells where that ends, and is nobody's delivery."""

from __future__ import annotations

import signal
import time

import psycopg
import pytest

from cdc.canary import FIRST
from cdc.care import rounds
from cdc.cli.deliveries import Wanted, search
from cdc.embedded import EmbeddedPostgres
from cdc.keys import new_secret
from cdc.observe.canary import STAGES
from cdc.queue.ownership import SHARDS
from cdc.queue.session import OWNED_FOR
from tests import support
from tests.daemon.running import Process, Running, eventually
from tests.daemon.test_fleet import shared
from tests.daemon.world import World
from tests.house.files import TOP

# A canary's row gets lost between writing and looking.
SWALLOW = f"""
create function swallow() returns trigger language plpgsql as 'begin return null; end';
create trigger swallow before insert on cdc.queue for each row
  when (new.webhook_id >= {FIRST}) execute function swallow()
"""


def figure(daemon: Running, name: str, **labels: str) -> float:
    """A sample of the daemon's page; 0 without."""
    return daemon.observer.metrics.registry.get_sample_value(f"cdc_canary_{name}", labels) or 0.0


def lost(daemon: Running) -> float:
    return sum(figure(daemon, "lost_total", before=stage) for stage in STAGES)


async def more(daemon: Running, canaries: int = 2) -> None:
    """Waits until so many more have come through."""
    until = figure(daemon, "recorded_seconds_count") + canaries
    await eventually(
        lambda: figure(daemon, "recorded_seconds_count") >= until, "canaries come through"
    )


async def test_it_goes_the_whole_road_beside_all_others_and_leaves_no_trace(world: World) -> None:
    hook = await world.hook()
    writer = await world.writer()
    async with Running(world.url, canary_interval=1) as daemon:
        await more(daemon)
        await writer.change("project", 1)
        await world.arrived(hook)
        await more(daemon)
        await world.settled()
        assert figure(daemon, "interval_seconds") == 1
        assert figure(daemon, "age_seconds") < 60
        assert 0 < figure(daemon, "receipt_seconds_sum") < figure(daemon, "recorded_seconds_sum")
        # All else knows of one delivery and one webhook.
        assert daemon.observer.counts.delivered == 1
        state = daemon.app._state()
        assert state.lanes.total() == 1
        assert state.in_memory == 0
    assert await world.all("select webhook_id from cdc.attempt") == [(hook.id,)]
    assert await world.one("select count(*) from cdc.lane where webhook_id <> %s", hook.id) == 0


async def test_off_is_off(world: World) -> None:
    hook = await world.hook()
    writer = await world.writer()
    async with Running(world.url) as daemon:
        await writer.change("project", 1)
        await world.arrived(hook)
        await world.settled()
        assert b"canary" not in await daemon.observer.metrics.page()
        assert daemon.app._tenure is not None
        assert list(daemon.app._tenure.dispatch.channels) == [hook.id]
    # The queue's sequence has given a number to the change, and to nothing else.
    assert await world.one("select last_value from cdc.queue_id") == 1


async def test_nobody_else_may_call_this_machine_because_of_it(world: World) -> None:
    hook = await world.hook()
    writer = await world.writer()
    async with Running(
        world.url, canary_interval=1, allowed_networks=[], attempts=True, allow_http=True
    ) as daemon:
        await writer.change("project", 1)
        line = await daemon.until("attempt", webhook=hook.id)
        assert line.values["error"] == "guard"
        await more(daemon)
    assert world.receiver.count == 0


async def test_nobody_registers_a_canarys_number(world: World) -> None:
    """Its requests go out by the client that may dial this machine."""
    await world.hook()
    conn = await world.connect()
    await conn.execute("set role cdc_admin")
    for statement in (
        f"insert into cdc.webhook (id, company, endpoint) values ({FIRST}, '1', 'http://x/')",
        f"update cdc.webhook set id = {FIRST + SHARDS - 1}",
    ):
        with pytest.raises(psycopg.errors.CheckViolation):
            await conn.execute(statement.encode())


async def test_one_whose_row_gets_lost_is_missed(world: World) -> None:
    await world.run(SWALLOW)
    async with Running(world.url, canary_interval=1) as daemon:
        # The statement that writes has found nothing to tell of, and nothing comes.
        await daemon.until("canary lost", before="received")
        assert figure(daemon, "lost_total", before="received") >= 1
        assert figure(daemon, "age_seconds") >= 1
        await world.run("drop trigger swallow on cdc.queue")
        await daemon.until("canaries come through again")
        assert figure(daemon, "recorded_seconds_count") == 1
        await world.settled()


async def test_one_that_cannot_be_recorded_is_missed_and_comes_once(world: World) -> None:
    """Somebody holds the shards' rows: all is sent, nothing settled."""
    locker = await world.connect()
    async with Running(world.url, canary_interval=1) as daemon:
        await more(daemon, 1)
        before = figure(daemon, "recorded_seconds_count")
        async with locker.transaction():
            await locker.execute(b"select from cdc.shard for update")
            await daemon.until("canary lost", before="recorded")
        await daemon.until("canaries come through again")
        assert figure(daemon, "recorded_seconds_count") > before
        # Those that nobody waits for any more were recorded, too.
        await world.settled()
    assert await world.one("select count(*) from cdc.attempt") == 0


async def test_one_that_the_receiver_refuses_is_not_sent_again(world: World) -> None:
    async with Running(world.url, canary_interval=1) as daemon:
        await more(daemon, 1)
        assert daemon.app._canary is not None
        daemon.app._canary._secret = new_secret()  # not the one that its lane signs with
        line = await daemon.until("canary lost", before="received")
        assert "400" in line.values["error"]
        await world.settled()
        assert daemon.observer.counts.failed == 0
    for table in ("attempt", "dead", "retry", "lane"):
        assert await world.one(f"select count(*) from cdc.{table}") == 0


async def test_without_a_database_its_age_grows(world: World) -> None:
    with EmbeddedPostgres() as server:
        support.prepare_template(server.url())
        async with Running(server.url(), canary_interval=1) as daemon:
            await more(daemon, 1)
            server.stop("immediate")
            await daemon.until("canary lost")
            await daemon.log.seen("canary lost", before="owned")
            assert figure(daemon, "age_seconds") >= 1
            server.start()
            await daemon.until("canaries come through again")
            assert figure(daemon, "age_seconds") < 60


async def test_each_daemon_has_its_own_and_a_hand_over_loses_none(world: World) -> None:
    async with Running(world.url, canary_interval=1) as first:
        await shared(first)
        await more(first, 1)
        assert first.app._canary is not None
        first.app._canary._patience = 10  # none is lost only because the machine is busy
        before = first.app._canary._shard
        async with Running(world.url, canary_interval=1) as second:
            await shared(first, second)
            await more(second, 2)
            await more(first, 1)
            assert second.app._canary is not None
            assert first.app._canary._shard != second.app._canary._shard
            # The first one's shard is among those handed over.
            assert first.app._canary._shard != before
        await shared(first)
        await more(first, 1)
        assert lost(first) == 0
        await world.settled()


async def test_one_that_is_handed_over_on_its_way_does_not_count(world: World) -> None:
    async with Running(world.url, canary_interval=1) as first:
        await shared(first)
        canary = first.app._canary
        assert canary is not None
        canary._patience = 10
        await more(first, 2)
        # The next shard's canary is not swallowed.
        await world.run(SWALLOW.replace(">=", "="))
        assert canary._shard == 0
        since = time.monotonic()
        await eventually(
            lambda: canary._flight is not None and canary._flight.began > since, "one is on its way"
        )
        before = lost(first)
        async with Running(world.url) as second:
            await shared(first, second)
            await more(first, 1)
            assert canary._shard != 0
            assert lost(first) == before


async def test_a_dead_daemons_canary_is_removed_by_others_that_have_none(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "SWEEP_EVERY", 0.5)
    locker = await world.connect()
    async with Process(world.url, canary_interval=1) as killed:
        await killed.until("connected")
        async with locker.transaction():
            await locker.execute(b"select from cdc.shard for update")
            await world.until("select exists (select from cdc.queue)")
            killed.signal(signal.SIGKILL)
            await killed.ended()
    assert await world.one("select min(webhook_id) >= %s from cdc.queue", FIRST)
    with psycopg.connect(world.url) as conn:
        assert search(conn, Wanted()) == []
    # One for each of the other shards, and a young one that somebody may wait for still.
    await world.run(
        "insert into cdc.queue (webhook_id, layout, action, time, refs)"
        " select %s::bigint + s, 1, 'm', clock_timestamp(), '{}' from generate_series(0, %s) s",
        FIRST,
        SHARDS - 1,
    )
    await world.run("update cdc.queue set time = time - interval '2 min' where webhook_id < %s",
                    FIRST + SHARDS - 1)  # fmt: skip
    async with Running(world.url) as daemon:
        await world.until("select count(*) <= 1 from cdc.queue", limit=OWNED_FOR + 60)
        assert await world.all("select webhook_id from cdc.queue") == [(FIRST + SHARDS - 1,)]
        assert daemon.observer.counts.swept == 0
        assert daemon.observer.metrics.backlog is not None
        assert daemon.observer.metrics.backlog.queued == 0
    for table in ("attempt", "dead", "retry"):
        assert await world.one(f"select count(*) from cdc.{table}") == 0


async def test_a_stop_leaves_no_row(world: World) -> None:
    async with Running(world.url, canary_interval=0.05) as daemon:
        await more(daemon)
    assert await world.all("select webhook_id from cdc.queue") == []


def test_all_statements_mean_the_same_numbers() -> None:
    assert FIRST % SHARDS == 0
    for name in ("settle_delivered", "sweep_canaries"):
        assert f" {FIRST}" in (TOP / "sql" / "queries" / f"{name}.sql").read_text()
    assert f" {FIRST} " in (TOP / "cdc" / "cli" / "deliveries.py").read_text()
    assert f" {FIRST})" in (TOP / "sql" / "schema" / "40_registry.sql").read_text()
