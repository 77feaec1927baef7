"""The look: every committed row is seen by exactly one, in whichever order transactions end."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from cdc.daemon.lease import Lease, Snapshot
from cdc.daemon.store.look import TRANSACTION_BYTES, Looker, Work, written
from cdc.daemon.store.session import Connection, open_session
from cdc.sandbox.embedded import EmbeddedPostgres
from tests.daemon.running import Running
from tests.daemon.world import Undo, World, Writer, pages_read
from tests.support import installation

SHARDS = list(range(64))
NEXT = "select pg_snapshot_xmax(pg_current_snapshot())::text::bigint"


async def test_looks_see_every_committed_row_once(world: World) -> None:
    await world.hook("candidate")
    writers = [await world.writer() for _ in range(8)]
    rows = [await writers[0].insert("candidate", project_id=1) for _ in writers]
    conn = await open_session(world.url, "test")
    lease = Lease()
    looker = Looker(conn, lease)
    await looker.begin()
    before = await _rows(conn, None)
    seen: Counter[int] = Counter()
    out_of_order = 0
    highest = max(before)
    looks = 0
    writing = asyncio.gather(
        *(
            _write(writer, key, seed)
            for seed, (writer, key) in enumerate(zip(writers, rows, strict=True))
        )
    )
    while True:
        over = writing.done()
        last = lease.snapshot
        news = await looker.look(arm=None)
        looks += 1
        # What this look's snapshot shows and the last one's did not.
        new = await _rows(conn, (last.text, news.snapshot.text))
        assert bool(new) == bool(news.webhooks)
        if new:
            assert min(new) == min(news.lowest)
            assert max(new) == max(news.highest)
            out_of_order += sum(1 for row in new if row < highest)
            highest = max(highest, *new)
        seen.update(new)
        if over:
            break
    await writing
    everything = await _rows(conn, None)
    await conn.close()
    assert set(seen) == everything - before
    assert set(seen.values()) == {1}
    # A query for `id > last` would have lost these.
    assert out_of_order > 0
    assert looks > 50
    assert len(everything) == len(world.ledger.entries)


@pytest.mark.parametrize("glance", [False, True], ids=["look", "glance"])
async def test_a_look_counts_the_transactions_that_it_finds(world: World, glance: bool) -> None:
    await world.hook("candidate")
    await world.hook("candidate")
    writer = await world.writer()
    conn = await open_session(world.url, "test")
    looker = Looker(conn, Lease())
    await looker.begin()

    async def found() -> int:
        seen = await looker.glance() if glance else await looker.look(arm=None, shards=SHARDS)
        assert seen is not None
        return seen.transactions

    assert await found() == 0
    for _ in range(3):
        await writer.insert("candidate", project_id=1)
    assert await found() == 3
    async with writer.transaction():
        for _ in range(4):
            await writer.insert("candidate", project_id=1)
    await writer.conn.execute(b"insert into company (name) values ('c')")
    assert await found() == 1
    await conn.close()


def test_of_too_many_rows_transactions_are_bounded_by_ids_and_snapshots() -> None:
    def snapshot(text: str) -> Snapshot:
        return Snapshot.parse(text)

    bulk = snapshot("10:10:"), snapshot("11:11:"), [100], [100_000]
    assert written(*bulk) == 1
    # Of other transactions there may be any number.
    assert written(snapshot("10:10:"), snapshot("900:900:"), [100, 200], [100, 200]) == 2
    assert written(snapshot("10:10:"), snapshot("900:900:"), [0], [9 * TRANSACTION_BYTES]) == 10
    assert written(snapshot("8:10:8,9"), snapshot("10:10:"), [100], [100_000]) == 2
    assert written(snapshot("10:10:"), snapshot("900:900:"), [], []) == 0


async def _write(writer: Writer, key: str, seed: int) -> None:
    """Transactions that stay open for various times, with savepoints kept and undone."""
    chance = random.Random(seed)
    for _ in range(30):
        async with writer.transaction():
            await writer.change("candidate", key)
            async with writer.transaction():
                await writer.change("candidate", key)
                await writer.conn.execute(f"select pg_sleep({chance.random() * 0.01})".encode())
                if chance.random() < 0.3:
                    raise Undo
            await writer.insert("candidate", project_id=1)
            if chance.random() < 0.2:
                raise Undo


async def _rows(conn: Connection, between: tuple[str, str] | None) -> set[int]:
    """Ids of rows that the second snapshot shows and the first one does not; None: all of them."""
    if between is None:
        cursor = await conn.execute(b"select id from cdc.queue")
    else:
        cursor = await conn.execute(
            b"select id from cdc.queue where not pg_visible_in_snapshot(xid, $1::pg_snapshot)"
            b" and pg_visible_in_snapshot(xid, $2::pg_snapshot)",
            list(between),
        )
    return {row[0] for row in await cursor.fetchall()}


async def test_a_change_of_a_registration_is_seen_by_one_look(world: World) -> None:
    conn = await open_session(world.url, "test")
    looker = Looker(conn, Lease())
    await looker.begin()
    hook = await world.hook()
    assert (await looker.look(arm=None)).touched == (hook.id,)
    assert (await looker.look(arm=None)).touched == ()
    await world.run("update cdc.webhook set description = 'x' where id = %s", hook.id)
    assert (await looker.look(arm=None)).touched == (hook.id,)
    await conn.close()


async def test_a_new_looker_begins_with_everything(world: World) -> None:
    hook, other = await world.hook(), await world.hook()
    writer = await world.writer()
    await writer.insert("project", company_id=1)
    conn = await open_session(world.url, "test")
    looker = Looker(conn, Lease())
    await looker.begin()
    idle = await world.hook("note")
    part = await looker.all(SHARDS, 0, 2)
    assert part is not None
    assert [work.webhook_id for work in part] == [hook.id, other.id]
    assert all(work.lowest for work in part)
    assert await looker.all(SHARDS, other.id, 2) == [Work(idle.id, None, False)]
    assert await looker.all([hook.id % 64], 0, 2) == part[:1]
    assert not (await looker.look(arm=None)).webhooks
    await conn.close()


async def test_after_a_crash_of_the_server_nothing_is_lost() -> None:
    """Transaction ids that were handed out before the crash are handed out again after it: a
    snapshot of before says of new rows that they were seen."""
    # What the daemon writes once a second would take ids to the disk.
    with EmbeddedPostgres(durable=True, settings={"wal_writer_delay": "10s"}) as server:
        installation.prepare_template(server.url())
        async with World(server.url()) as world:
            hook = await world.hook()
            writer = await world.writer()
            async with Running(world.url) as daemon:
                key = await writer.insert("candidate", project_id=1)
                await world.arrived(hook)
                await world.settled()  # its commit would take the ids below to the disk
                # Ids of transactions that leave nothing behind; a snapshot knows of them.
                for _ in range(20):
                    await world.run("select pg_current_xact_id()")
                await world.until("select last_value > 1 from cdc.bell")
                before = await world.one(NEXT)
                server.stop("immediate")
                server.start()
                await world.reconnect()
                assert await world.one(NEXT) < before
                writer = await world.writer()
                await writer.change("candidate", key)
                await world.arrived(hook)
                for _ in range(5):
                    await writer.change("candidate", key)
                await world.arrived(hook)
                await world.settled()
                assert daemon.observer.counts.swept == 0
            # After a crash no daemon listens, until one arms the bell again.
            server.stop("immediate")
            server.start()
            await world.reconnect()
            assert await world.one("select last_value from cdc.bell") == 1


async def test_a_look_at_the_fleet_counts_the_writers_that_wait_to_ring() -> None:
    """Transactions that have used NOTIFY commit one after the other. One that is open is not
    counted, whatever it has done."""
    settings = {
        "wal_level": "replica",
        "max_wal_senders": "1",
        "synchronous_standby_names": "nowhere",
        "synchronous_commit": "local",
    }
    ring = b"select pg_logical_emit_message(true, 'test', ''), pg_notify('cdc', '')"
    with EmbeddedPostgres(settings=settings) as server:
        installation.prepare_template(server.url())
        async with World(server.url()) as world:
            conn = await open_session(world.url, "test")
            looker = Looker(conn, Lease())
            await looker.begin()
            first, *others, opened = [await world.connect() for _ in range(4)]
            await opened.execute(b"begin")
            await opened.execute(ring)
            assert (await looker.look(arm=None, fleet=True)).waiting == 0
            # Its commit waits for a standby that does not exist, and holds the lock.
            await first.execute(b"set synchronous_commit = on")
            ringing = [asyncio.create_task(first.execute(ring))]
            await world.until(
                "select count(*) = 1 from pg_stat_activity where wait_event = 'SyncRep'"
            )
            ringing += [asyncio.create_task(other.execute(ring)) for other in others]
            await world.until(
                "select count(*) = 2 from pg_stat_activity"
                " where wait_event_type = 'Lock' and wait_event = 'object'"
            )
            assert (await looker.look(arm=None, fleet=True)).waiting == 2
            assert (await looker.look(arm=None)).waiting is None
            await world.run("select pg_cancel_backend(%s)", first.info.backend_pid)
            await asyncio.gather(*ringing)
            assert (await looker.look(arm=None, fleet=True)).waiting == 0
            await conn.close()


async def test_what_an_open_transaction_has_written_costs_a_look_nothing(world: World) -> None:
    """It cannot be seen yet; walking over it would hold up every look of every daemon."""
    await world.hook("candidate")
    conn, writer = await open_session(world.url, "test"), await world.writer()
    looker = Looker(conn, Lease())
    await looker.begin()
    async with writer.transaction():
        await writer.write(
            "candidate",
            "created",
            "insert into candidate (project_id) select 1 from generate_series(1, 20000)"
            " returning id, name",
        )
        await world.run("select pg_current_xact_id()")  # a later one ends: this one is in between
        seen = await looker.look(arm=None)
        assert seen.snapshot.running
        pages = await pages_read(conn)
        for _ in range(3):
            assert not (await looker.look(arm=None, shards=SHARDS)).webhooks
        # A way down the index for each look, whatever that transaction has written.
        assert await pages_read(conn) - pages < 100
    seen = await looker.look(arm=None, shards=SHARDS)
    assert len(seen.webhooks) == 1
    await conn.close()
