"""A session holds an old snapshot while very many deliveries are made: the queue's index keeps an
entry for each of them, and the first row that is left lies behind all those entries."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import psycopg
import pytest

from cdc.daemon.maintenance import drop_removed, expire
from cdc.daemon.store import fill, look, session
from cdc.daemon.store.session import Connection, Row
from cdc.lanes import window
from cdc.telemetry import Observer
from tests.daemon.running import Log, Running
from tests.daemon.world import Hook, World

SMALL, LARGE = 40_000, 3_000_000
DEAD = """
insert into cdc.queue (webhook_id, layout, action, "time", refs)
select %s, (select min(id) from cdc.layout where event = 'candidate_changed'), 'm', now(),
       '{null,1,1,9}'
  from generate_series(1, %s)
"""


async def dead_entries(world: World, hook: Hook, rows: int) -> psycopg.AsyncConnection:
    """Entries that no vacuum may remove: the session that is returned holds its snapshot."""
    holder = await world.connect()
    await holder.execute(b"begin isolation level repeatable read")
    await holder.execute(b"select count(*) from cdc.queue")
    await world.run(DEAD, hook.id, rows)
    await world.run("delete from cdc.queue where webhook_id = %s", hook.id)
    return holder


def count_ended(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements that the server ends because they take too long, as they come."""
    ended: list[str] = []
    within = session.run_within

    async def counted(
        conn: Connection, name: str, params: Sequence[Any], seconds: float
    ) -> list[Row] | None:
        rows = await within(conn, name, params, seconds)
        if rows is None:
            ended.append(name)
        return rows

    monkeypatch.setattr(look, "run_within", counted)
    return ended


@pytest.mark.parametrize(
    "rows", [SMALL, pytest.param(LARGE, marks=[pytest.mark.long, pytest.mark.timeout(900)])]
)
async def test_a_daemon_begins_behind_dead_entries(
    world: World, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    """The others at once, this one in steps; and no statement takes long."""
    ended = count_ended(monkeypatch)
    if rows == SMALL:  # as slow, by the measure of the other one
        monkeypatch.setattr(look, "PROBE_WITHIN_S", 0.002)
        monkeypatch.setattr(fill, "FETCH_STEP_WITHIN_S", 0.02)
        monkeypatch.setattr(window, "FIRST_STEP_IDS", 500)
    hooks = [await world.hook("candidate") for _ in range(3)]
    writer = await world.writer()
    await dead_entries(world, hooks[1], rows)
    keys = [await writer.insert("candidate", project_id=1) for _ in range(3)]
    for _ in range(5):
        await writer.change("candidate", *keys)
    began = time.monotonic()
    async with Running(world.url) as daemon:
        await daemon.until("connected")
        await world.arrived(hooks[0], hooks[2])
        quick = time.monotonic() - began
        await writer.change("candidate", *keys)
        await world.arrived(*hooks)
        await world.settled()
        assert not daemon.log.all("connection lost")
        assert "look_all" in ended, "there was not enough to walk over"
        assert daemon.observer.counts.swept == 0
        print(
            f"{rows} dead entries: others after {quick:.1f} s, all {time.monotonic() - began:.1f} s"
        )


OVERDUE = {
    "queue": """
insert into cdc.queue (webhook_id, layout, action, "time", refs)
select %s, min(id), 'm', now() - interval '30 days', '{null,1,1,9}'
  from cdc.layout, generate_series(1, %s) g where event = 'candidate_changed' group by g
""",
    "dead": """
insert into cdc.dead (webhook_id, id, uid, xid, layout, action, "time", refs, event, key, attempts,
                      tries, died_at)
select %s, g, gen_random_uuid(), '1', 1, 'm', now(), '{}', 'candidate_changed', g::text, 1, 1,
       now() - interval '60 days' + g * interval '1 second'
  from generate_series(1, %s) g
""",
}


async def entries_read(conn: session.Connection, table: str) -> int:
    """Entries of a table's indexes that this session has walked over, dead ones included."""
    await conn.execute(b"select pg_stat_force_next_flush()")
    cursor = await conn.execute(
        b"select sum(pg_stat_get_tuples_returned(indexrelid))::bigint"
        b"  from pg_index where indrelid = $1::text::regclass",
        [f"cdc.{table}"],
    )
    [(entries,)] = await cursor.fetchall()
    return int(entries)


@pytest.mark.parametrize(
    ("work", "state", "table"),
    [("drop", "removed", "queue"), ("expire", "paused", "queue"), ("expire", "active", "dead")],
)
async def test_what_goes_in_batches_does_not_walk_over_those_before(
    world: World, monkeypatch: pytest.MonkeyPatch, work: str, state: str, table: str
) -> None:
    """Four times the rows cost four times as much, not sixteen times."""
    monkeypatch.setattr(drop_removed, "DROP_BATCH_ROWS", 50)
    monkeypatch.setattr(expire, "EXPIRE_BATCH_ROWS", 50)
    observer = Observer(log=Log())
    holder = await world.connect()
    await holder.execute(b"begin isolation level repeatable read")
    await holder.execute(b"select from cdc.queue")
    conn = await session.open_session(world.url, "test")
    read = []
    for rows in (1000, 4000):
        hook = await world.hook(state=state)
        await world.run("update cdc.webhook set since = now() - interval '40 days'")
        await world.run(OVERDUE[table], hook.id, rows)
        before = await entries_read(conn, table)
        done = (
            drop_removed.run_once(conn, hook.id, observer)
            if work == "drop"
            else expire.run_once(conn, 14, 14, observer)
        )
        assert await done
        read.append(await entries_read(conn, table) - before)
        assert await world.one(f"select count(*) = 0 from cdc.{table}")
    await conn.close()
    assert read[1] < 6 * read[0], read
