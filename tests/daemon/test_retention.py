"""Retention: what was held or dead too long goes, and the log's old days; no session waits."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cdc.daemon.maintenance import expire, prune
from cdc.daemon.store.session import open_session
from cdc.sandbox.embedded import EmbeddedPostgres
from cdc.sandbox.receiver import Script
from cdc.telemetry import Observer
from tests.daemon.running import Log, Running
from tests.daemon.world import Hook, World


@pytest.fixture
def observer() -> Observer:
    return Observer(log=Log())


def expired(observer: Observer, was: str) -> float:
    value = observer.metrics.registry.get_sample_value("cdc_expired_deliveries_total", {"was": was})
    return value or 0.0


async def expire_once(world: World, observer: Observer, held: float, dead: float) -> None:
    conn = await open_session(world.url, "test")
    try:
        await expire.run_once(conn, held, dead, observer)
    finally:
        await conn.close()


async def retried(world: World, hook: Hook, number: int, key: str = "1", **columns: Any) -> None:
    """A row of the retry table; columns as SQL."""
    columns = {"due_at": "null", **columns}
    await world.run(
        "insert into cdc.retry (webhook_id, id, uid, xid, layout, action, time, refs, event, key"
        f"{''.join(f', {name}' for name in columns)})"
        f" select %s, %s, gen_random_uuid(), %s, id, 'm', now(), '{{}}', event, %s"
        f"{''.join(f', {value}' for value in columns.values())}"
        "   from cdc.layout where event = 'candidate_changed'",
        hook.id,
        number,
        str(number),
        key,
    )


async def test_what_is_held_too_long_expires_and_is_logged(
    world: World, observer: Observer
) -> None:
    held, other = await world.hook(state="paused"), await world.hook()
    writer = await world.writer()
    for _ in range(3):
        await writer.insert("candidate", project_id=1)
    await world.run(
        "update cdc.queue set time = time - interval '2 days'"
        " where id in (select id from cdc.queue order by id limit 4)"
    )
    # Its webhook was paused a moment ago: it has not been held for so long.
    await expire_once(world, observer, 1.0, 1.0)
    assert await world.one("select count(*) from cdc.attempt") == 0
    await world.run("update cdc.webhook set since = since - interval '2 days'")
    await expire_once(world, observer, 1.0, 1.0)
    log = await world.all("select webhook_id, outcome, try, detail from cdc.attempt")
    assert log == [(held.id, "expired", 0, "held for its time")] * 2
    assert (expired(observer, "held"), expired(observer, "dead")) == (2, 0)
    # Only what is held: an active webhook's rows are on their way.
    assert await world.all("select webhook_id, count(*) from cdc.queue group by 1 order by 1") == [
        (held.id, 1),
        (other.id, 3),
    ]


async def test_dead_and_held_have_their_own_times(world: World, observer: Observer) -> None:
    hook = await world.hook(state="paused")
    await world.run("update cdc.webhook set since = since - interval '30 days'")
    for number, days in ((1, 1), (2, 5)):
        await retried(world, hook, number, moved_at=f"now() - interval '{days} days'")
        await world.run(
            "insert into cdc.dead (webhook_id, id, uid, xid, layout, action, time, refs, event,"
            " key, attempts, tries, died_at) select webhook_id, id + 10, uid, xid, layout, action,"
            " time, refs, event, key, 10, 10, moved_at from cdc.retry where id = %s",
            number,
        )
    await expire_once(world, observer, 9.0, 3.0)
    log = "select delivery, try, detail from cdc.attempt where outcome = 'expired' order by 1"
    assert await world.all(log) == [(12, 10, "dead for its time")]
    await expire_once(world, observer, 3.0, 3.0)
    assert await world.all(log) == [(2, 0, "held for its time"), (12, 10, "dead for its time")]
    assert (expired(observer, "held"), expired(observer, "dead")) == (1, 1)


async def test_a_few_at_a_time_until_all_are_gone(
    world: World, observer: Observer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expire, "EXPIRE_BATCH_ROWS", 3)
    hook = await world.hook(state="suspended")
    await world.run("update cdc.webhook set since = since - interval '30 days'")
    writer = await world.writer()
    for number in range(8):
        await writer.insert("candidate", project_id=1)
        await retried(
            world, hook, 100 + number, key=str(number), moved_at="now() - interval '2 days'"
        )
    await world.run("update cdc.queue set time = time - interval '2 days'")
    await expire_once(world, observer, 1.0, 1.0)
    assert expired(observer, "held") == 16
    assert await world.one("select count(*) from cdc.attempt where outcome = 'expired'") == 16
    await world.settled()


async def test_who_was_parked_behind_it_is_the_first_now(world: World, observer: Observer) -> None:
    """And is sent when the webhook is resumed, by a lane that has known the row which expired."""
    hook = await world.hook("candidate")
    writer = await world.writer()
    well = False
    world.receiver.script(hook.path, Script(answer=lambda _: 204 if well else 500))
    async with Running(world.url, retry_schedule=[1000], breaker_failures=1000) as daemon:
        key = await writer.insert("candidate", project_id=1)
        other = await writer.insert("candidate", project_id=1)
        await world.until("select count(*) = 2 from cdc.retry where due_at is not null")
        await writer.change("candidate", key)
        await world.until("select count(*) = 1 from cdc.retry where due_at is null")
        await world.run("update cdc.webhook set state = 'paused'")
        await world.until("select version >= 2 from cdc.lane")
        await world.run("update cdc.webhook set since = since - interval '2 days'")
        await world.run(
            "update cdc.retry set moved_at = now() - interval '2 days' where due_at is not null"
        )
        await expire_once(world, observer, 1.0, 1.0)
        assert await world.all("select key, due_at is not null from cdc.retry") == [(key, True)]
        world.came[hook.path].clear()
        well = True
        # Nothing is left of the other row, so its changes do not wait.
        await writer.change("candidate", other)
        await world.run("update cdc.webhook set state = 'active'")
        await world.receiver.wait_for(lambda _: len(world.came[hook.path]) == 2)
        await world.settled()
        assert daemon.observer.counts.swept == 0


async def test_no_webhook_is_resumed_in_the_middle(world: World, observer: Observer) -> None:
    """What an operator resumes just now is not expired, and no session waits."""
    await world.hook(state="paused")
    writer = await world.writer()
    await writer.insert("candidate", project_id=1)
    await world.run("update cdc.queue set time = time - interval '2 days'")
    await world.run("update cdc.webhook set since = since - interval '2 days'")
    person = await world.connect()
    async with person.transaction():
        await person.execute("update cdc.webhook set state = 'active'")
        await expire_once(world, observer, 1.0, 1.0)
    assert await world.one("select count(*) from cdc.queue") == 1
    assert expired(observer, "held") == 0


async def _days(world: World) -> list[int]:
    return list(
        await world.one(
            "select coalesce(array_agg(delivery order by delivery), '{}') from cdc.attempt"
            " where webhook_id = 0"
        )
    )


async def _logged(world: World, *ago: int) -> int:
    """Rows of the log so many days ago; returns today's number."""
    today = await world.one("select floor(extract(epoch from clock_timestamp()) / 86400)::int")
    for days in ago:
        await world.run(
            "insert into cdc.attempt (slot, at, delivery, xid, uid, webhook_id, layout, action,"
            " time, refs, try, outcome) values (%s, now() - %s * interval '1 day', %s, '1',"
            " gen_random_uuid(), 0, 1, 'c', now(), '{}', 1, 'delivered')",
            (today - days) % 32,
            days,
            days,
        )
    return int(today)


async def test_old_days_of_the_log_are_emptied_without_waiting(
    world: World, observer: Observer
) -> None:
    today = await _logged(world, 0, 1, 3, 5)
    conn = await open_session(world.url, "test")
    reader = await world.connect()
    async with reader.transaction():
        # Another session reads the oldest: it is left for the next round.
        await reader.execute(f"select from cdc.attempt_{(today - 5) % 32:02d}".encode())
        await prune.run_once(conn, 2, observer)
        assert await _days(world) == [0, 1, 5]
    await prune.run_once(conn, 2, observer)
    assert await _days(world) == [0, 1]
    await conn.close()


async def test_old_backfills_go_but_for_those_that_have_not_ended(
    world: World, observer: Observer
) -> None:
    hook = await world.hook()
    await world.run(
        "insert into cdc.backfill (webhook_id, event, action, actor, state, ended_at)"
        " select %s, state || days, 'c', 'me', state, now() - days * interval '1 day'"
        "  from unnest('{running,paused,done,cancelled,failed}'::text[]) state,"
        "  unnest('{1,3}'::int[]) days",
        hook.id,
    )
    conn = await open_session(world.url, "test")
    await prune.run_once(conn, 2, observer)
    await conn.close()
    assert await world.one("select array_agg(event order by event) from cdc.backfill") == [
        "cancelled1", "done1", "failed1", "paused1", "paused3", "running1", "running3",
    ]  # fmt: skip


async def test_the_highest_transaction_that_is_pruned_is_kept(
    world: World, observer: Observer
) -> None:
    """A client of the list of what was owed learns by it that something is missing."""
    hook = await world.hook("candidate")
    today = await _logged(world, 1, 3, 5)
    await world.run("update cdc.attempt set webhook_id = %s, xid = '40'", hook.id)
    await world.run("update cdc.attempt set xid = '30' where delivery = 5")
    await world.run("update cdc.attempt set xid = '50' where delivery = 1")
    conn, reader = await open_session(world.url, "test"), await world.connect()
    kept = "select log_pruned::text from cdc.installation"
    async with reader.transaction():
        await reader.execute(f"select from cdc.attempt_{(today - 3) % 32:02d}".encode())
        await prune.run_once(conn, 2, observer)
        assert await world.one(kept) == "30"
    await prune.run_once(conn, 2, observer)
    await prune.run_once(conn, 2, observer)
    assert await world.one(kept) == "40"
    await conn.close()


async def test_a_clock_that_jumps_ahead_and_back_empties_no_day(
    world: World, observer: Observer
) -> None:
    """Daemons that were started meanwhile have logged under the wrong day, too."""
    conn = await open_session(world.url, "test")
    # As the log is seen by a clock that is 20 days ahead.
    await _logged(world, 0, 20, 21, 22)
    await prune.run_once(conn, 2, observer)
    assert await _days(world) == [0, 20, 21]
    await world.run("delete from cdc.attempt")
    # And when it is right again.
    await _logged(world, -20, 0, 1, 2, 3)
    await prune.run_once(conn, 2, observer)
    assert await _days(world) == [-20, 0, 1, 2]
    await conn.close()


async def test_a_pg_dump_holds_up_no_delivery(world: World, postgres: EmbeddedPostgres) -> None:
    """A real pg_dump, held in the middle by a table that it waits for: all its locks are taken, its
    snapshot is open. Deliveries are sent and settled meanwhile, and old days are left for later."""
    hook = await world.hook("candidate")
    await _logged(world, 1, 20)
    await world.run("create table held_up ()")
    blocker = await world.connect()
    async with Running(world.url, log_days=2) as daemon:
        await daemon.until("days of the attempt log emptied", count=1)
    # pg_dump sorts by name when it locks, and takes cdc's tables before public's.
    await _logged(world, 20)
    writer = await world.writer()
    async with blocker.transaction():
        await blocker.execute("lock table held_up in access exclusive mode")
        dump = await asyncio.create_subprocess_exec(
            str(postgres.bin_dir / "pg_dump"),
            *("--dbname", world.url, "--file", "/dev/null"),
            stderr=asyncio.subprocess.PIPE,
        )
        await world.until(
            "select exists (select from pg_locks l join pg_stat_activity a using (pid)"
            "  where a.application_name = 'pg_dump' and not l.granted)"
            "   and exists (select from pg_locks l join pg_stat_activity a using (pid)"
            "  where a.application_name = 'pg_dump' and l.granted"
            "    and l.relation = 'cdc.attempt'::regclass)"
        )
        async with Running(world.url, log_days=2, retry_schedule=[0.01]) as daemon:
            await daemon.until("maintenance failed", what="prune")
            keys = [await writer.insert("candidate", project_id=1) for _ in range(20)]
            await writer.change("candidate", *keys)
            await world.arrived(hook)
            await world.settled()
        # A session that waited for the dump would wait now: it is there still.
        assert await world.one(
            "select count(*) from pg_stat_activity where application_name = 'pg_dump'"
        )
        assert 20 in await _days(world)
    async with asyncio.timeout(60):
        _, errors = await dump.communicate()
    assert errors == b""
    conn = await open_session(world.url, "test")
    await prune.run_once(conn, 2, Observer(log=Log()))
    await conn.close()
    assert 20 not in await _days(world)
