"""What is filled and emptied all day does not grow, and vacuum comes early."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.daemon.world import World

TABLES = "cdc.queue, cdc.retry, cdc.dead"


@pytest.fixture
async def alone(world: World) -> AsyncIterator[None]:
    """Autovacuum's own snapshots would keep a vacuum, now and then, from removing anything."""
    try:
        await world.run("alter system set autovacuum = off")
        await world.run("select pg_reload_conf()")
        await world.until(
            "select not exists (select from pg_stat_activity"
            "  where backend_type like 'autovacuum%'"
            ")"
        )
        yield
    finally:
        await world.run("alter system reset autovacuum")
        await world.run("select pg_reload_conf()")


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("alone")
async def test_queue_retry_and_dead_stop_growing(world: World) -> None:
    """Tens of thousands of deliveries, in rounds, each vacuumed as autovacuum does it: after the
    first ones tables and indexes take no more space than before."""
    await world.run("set synchronous_commit = off")
    hook = await world.hook("candidate")
    sizes = []
    for _ in range(6):
        await world.run(
            "insert into cdc.queue (webhook_id, layout, action, time, refs)"
            " select %s, l.id, 'm', now(), array[null, '1', '1', g::text]"
            "   from generate_series(1, 10000) g, cdc.layout l where event = 'candidate_changed'",
            hook.id,
        )
        for statement, rows in ROUND:
            cursor = await world.conn.execute(statement.encode())
            assert cursor.rowcount == rows, statement
        await world.run(f"vacuum {TABLES}")
        sizes.append(
            await world.all(
                "select c.oid::regclass::text, pg_relation_size(c.oid) from pg_class c"
                " left join pg_index i on i.indexrelid = c.oid"
                " where coalesce(i.indrelid, c.oid) = any(array['cdc.queue', 'cdc.retry',"
                " 'cdc.dead']::regclass[]) order by 1"
            )
        )
    later = {name: [dict(size)[name] for size in sizes[2:]] for name, _ in sizes[0]}
    grown = {name: size for name, size in later.items() if max(size) > size[0] * 1.05 + 8 * 8192}
    assert grown == {}
    assert all(later[name][0] > 0 for name in ("cdc.queue", "cdc.retry", "cdc.dead"))


# What settle, park, promote, replay and settle again do to the tables, for all rows at once, and
# to how many: failed and parked, retried again, delivered or dead, replayed, delivered.
ROUND = (
    (
        "with taken as (delete from cdc.queue returning *)"
        " insert into cdc.retry (webhook_id, id, uid, xid, layout, action, time, refs, event, key,"
        "  body, attempts, tries, due_at) select webhook_id, id, uid, xid, layout, action, time,"
        "  refs, 'candidate_changed', refs[4], 'x', 1, 1,"
        "  case when refs[4]::int % 2 = 0 then now() end from taken",
        10_000,
    ),
    ("update cdc.retry set due_at = clock_timestamp() where due_at is null", 5_000),
    ("update cdc.retry set due_at = clock_timestamp() + interval '5 s', tries = tries + 1", 10_000),
    (
        "with done as (delete from cdc.retry returning *)"
        " insert into cdc.dead (webhook_id, id, uid, xid, layout, action, time, refs, event, key,"
        "  body, attempts, tries) select webhook_id, id, uid, xid, layout, action, time, refs,"
        "  event, key, body, 10, 10 from done where key::int % 2 = 0",
        5_000,
    ),
    (
        "with replayed as (delete from cdc.dead returning *)"
        " insert into cdc.retry (webhook_id, id, uid, xid, layout, action, time, refs, event, key,"
        "  body, tries, due_at) select webhook_id, id, uid, xid, layout, action, time, refs, event,"
        "  key, body, tries, now() from replayed",
        5_000,
    ),
    ("delete from cdc.retry", 5_000),
)


async def test_vacuum_comes_early_and_never_in_the_way(world: World) -> None:
    """Of every table that writers, or the daemon, fill and empty."""
    options = {
        name: dict(option.split("=") for option in options or ())
        for name, options in await world.all(
            "select relname, reloptions from pg_class"
            " where relnamespace = 'cdc'::regnamespace and relkind = 'r'"
        )
    }
    for name in ("queue", "retry", "dead"):
        value = options[name]
        assert value["autovacuum_vacuum_scale_factor"] == "0", name
        assert value["autovacuum_vacuum_insert_scale_factor"] == "0", name
        assert value["autovacuum_vacuum_cost_delay"] == "0", name
        assert 0 < int(value["autovacuum_vacuum_threshold"]) <= 10_000, name
    # Truncating a table's end takes a lock that a writer (of subscriptions: a reader) waits for.
    filled = [name for name in options if name.startswith("attempt_")]
    assert len(filled) == 32
    for name in ("queue", "retry", "dead", "unresolved", "subscription", *filled):
        assert options[name]["vacuum_truncate"] == "off", name
