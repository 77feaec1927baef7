"""The daemon with an account that may do what cdc_daemon may, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from psycopg.conninfo import make_conninfo

from cdc.daemon.maintenance import schedule
from cdc.postgres import connections
from cdc.sandbox.receiver import Reply, Script
from cdc.webhooks import trials
from cdc.webhooks.audit import Actor
from tests.capture.test_row_security import BY_HAND
from tests.daemon.running import Running
from tests.daemon.world import World


@pytest.fixture
async def account(world: World) -> AsyncIterator[str]:
    """Address of the database for such an account."""
    await world.run("create role daemon_account login password 'x' in role cdc_daemon")
    yield make_conninfo(world.url, user="daemon_account", password="x")
    await world.run("drop role daemon_account")


@pytest.mark.parametrize("secured", [False, True], ids=["", "row-level security on all our tables"])
async def test_all_that_a_daemon_does_is_allowed(
    world: World, account: str, monkeypatch: pytest.MonkeyPatch, *, secured: bool
) -> None:
    if secured:
        await world.run(BY_HAND)
    for name in ("REMOVED_EVERY_S", "SWEEP_EVERY_S", "EXPIRE_EVERY_S", "PRUNE_EVERY_S"):
        monkeypatch.setattr(schedule, name, 0.5)
    good, bad, gone = [await world.hook() for _ in range(3)]
    removed, held = await world.hook(), await world.hook(state="paused")
    world.receiver.script(bad.path, Script(reply=Reply(500)))
    world.receiver.script(gone.path, Script(reply=Reply(410)))
    await world.run("alter table rating drop constraint rating_candidate_id_fkey")
    writer, late = await world.writer(), await world.connect()
    await writer.insert("candidate", project_id=1)
    # Something for each care process: an old row that is held, an old day of the log, a restored
    # row, a sequence that lags.
    await world.run(
        "update cdc.queue set time = time - interval '30 days', xid = '90000000'"
        " where webhook_id = %s",
        held.id,
    )
    await world.run(
        "insert into cdc.attempt (slot, at, delivery, xid, uid, webhook_id, layout, action, time,"
        " refs, try, outcome) select (floor(extract(epoch from now()) / 86400)::int - ago) % 32,"
        " now() - ago * interval '1 day', 1, '1', gen_random_uuid(), 0, 1, 'c', now(), '{}', 1,"
        " 'delivered' from unnest(array[1, 27]) ago"
    )
    await world.run(
        "update cdc.webhook set since = since - interval '30 days' where id = %s", held.id
    )
    await world.run("alter sequence cdc.queue_id restart with 2")
    with connections.engine(world.url).begin() as conn:
        trials.start(conn, Actor("test"), bad.id)
    async with Running(account, retry_schedule=[0.02], breaker_failures=1000) as daemon:
        await world.until("select state = 'done' from cdc.task")
        await world.arrived(good)
        await world.until("select exists (select from cdc.dead)")
        await world.until("select state = 'suspended' from cdc.webhook where id = %s", gone.id)
        await daemon.until("deliveries expired", was="held")
        await daemon.until("days of the attempt log emptied")
        async with late.transaction():
            await late.execute(b"set transaction isolation level repeatable read")
            await late.execute(b"select from company")
            key = await writer.insert("candidate", project_id=1)
            await late.execute(f"insert into rating (candidate_id) values ({key})".encode())
        await daemon.until("captured late")
        await world.run("update cdc.webhook set state = 'paused' where id = %s", removed.id)
        await world.until("select version > 1 from cdc.lane where webhook_id = %s", removed.id)
        await writer.insert("candidate", project_id=1)
        await world.run("update cdc.webhook set state = 'removed' where id = %s", removed.id)
        await daemon.until("dropped for a removed webhook")
        assert daemon.log.all("maintenance failed") == []
        assert daemon.log.all("settling failed") == []
        assert daemon.log.all("connection lost") == []
