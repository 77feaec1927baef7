"""Fetch: only what the look has seen, never twice, created before modified."""

from __future__ import annotations

import asyncio
import json
from random import Random

import pytest

from cdc.daemon.lease import Lease
from cdc.daemon.store.fetch import Fetcher
from cdc.daemon.store.look import Looker
from cdc.daemon.store.session import Connection, Layouts, open_session
from cdc.lanes import DuePlan, FetchPlan, Lane, LaneRules
from cdc.model import Span
from tests.daemon.running import Running
from tests.daemon.world import World, pages_read
from tests.lanes.made import OK

# A trigger of the suite's own that updates what was just inserted.
OWN_TRIGGER = """
create function touch() returns trigger language plpgsql as $$
begin
  update candidate set name = '1' where id = new.id;
  return new;
end $$;
create trigger touch after insert on candidate for each row execute function touch();
"""


async def test_a_row_committed_after_the_look_is_not_fetched(world: World) -> None:
    hook = await world.hook("candidate")
    writer, late = await world.writer(), await world.writer()
    key = await writer.insert("candidate", project_id=1)
    await world.run("delete from cdc.queue")
    conn = await open_session(world.url, "test")
    looker, fetcher = Looker(conn, Lease()), Fetcher(conn, Layouts())
    async with writer.transaction():
        await writer.change("candidate", await writer.insert("candidate", project_id=1))
        snapshot = await looker.begin()
        # Committed between the look and the fetch, with higher ids than a row still to come.
        await late.change("candidate", key)
        plan = {hook.id: FetchPlan(*Span(0), 10, 10)}
        assert (await fetcher.fetch(plan, snapshot))[hook.id].rows == []
        seen = await looker.look(arm=None)
        rows = (await fetcher.fetch(plan, seen.snapshot))[hook.id].rows
        assert [(row.action, row.refs[-1]) for row in rows] == [("modified", key)]
        assert dict(seen.news()) == {hook.id: Span(rows[0].id, rows[0].id)}
    seen = await looker.look(arm=None)
    fetched = (await fetcher.fetch(plan, seen.snapshot))[hook.id].rows
    assert [row.id for row in fetched] == sorted(row.id for row in fetched)
    assert len(fetched) == 3
    assert dict(seen.news())[hook.id].last < rows[0].id
    await conn.close()


async def test_what_was_settled_during_a_fetch_is_not_sent_again(
    world: World,
) -> None:
    hook = await world.hook("candidate")
    writer = await world.writer()
    for _ in range(3):
        await writer.insert("candidate", project_id=1)
    conn, other = [await open_session(world.url, "test") for _ in range(2)]
    looker = Looker(conn, Lease())
    snapshot = await looker.begin()
    lane = Lane(hook.id, LaneRules(window=4, cap=4), Random(1))
    lane.noticed(Span(0))
    plan = lane.plan_fetch(2)
    assert plan is not None
    found = await Fetcher(conn, Layouts()).fetch({hook.id: plan}, snapshot)
    lane.fetched(plan, found[hook.id].rows)
    first = lane.start(0.0)[0]
    # A fetch from the beginning (a writer committed late) that sees the row before its settlement
    # commits, and ends after it.
    lane.noticed(Span(0))
    plan = lane.plan_fetch()
    assert plan is not None
    window = (await Fetcher(other, Layouts()).fetch({hook.id: plan}, snapshot))[hook.id]
    assert first.id in [row.id for row in window.rows]
    lane.finish(first, OK, 0.0)
    await world.run("delete from cdc.queue where id = %s", first.id)
    lane.settled(first)
    lane.fetched(plan, window.rows)
    assert first.id not in [row.id for row in lane.start(0.0)]
    for session in (conn, other):
        await session.close()


async def test_thousands_are_sent_once_while_settling_races_fetching(world: World) -> None:
    hooks = [await world.hook("candidate"), await world.hook("candidate")]
    writer = await world.writer()
    keys = await writer.write(
        "candidate",
        "created",
        "insert into candidate (project_id) select 1 from generate_series(1, 500)"
        " returning id, name",
    )
    async with Running(world.url, window=60) as daemon:
        await writer.change("candidate", *keys)
        await world.arrived(*hooks, limit=60)
        await world.settled()
        assert daemon.observer.counts.swept == 0
    assert [world.repeats(hook) for hook in hooks] == [0, 0]
    assert world.overlaps == 0


async def test_created_comes_before_modified_of_the_same_transaction(world: World) -> None:
    await world.run(OWN_TRIGGER)
    hook = await world.hook("candidate")
    async with Running(world.url, window=100):
        await world.run("insert into candidate (project_id) values (1)")
        await world.receiver.wait_for(2)
        await world.run("insert into candidate (project_id) select 1 from generate_series(1, 3000)")
        await world.receiver.wait_for(2 + 6000, limit=60)
        await world.settled()
    assert world.repeats(hook) == 0
    came: dict[str, list[str]] = {}
    for got in world.came[hook.path]:
        data = json.loads(got.body)["data"]
        came.setdefault(data["candidate"], []).append(data["action"])
    assert len(came) == 3001
    assert set(map(tuple, came.values())) == {("created", "modified")}


async def test_many_lanes_are_filled_by_one_statement(world: World) -> None:
    hooks = [await world.hook() for _ in range(70)]  # more than there are shards
    writer = await world.writer()
    async with Running(world.url):
        async with writer.transaction():
            for _ in range(3):
                await writer.insert("candidate", project_id=1)
        await world.arrived(*hooks)
        await asyncio.gather(*(world.arrived(hook) for hook in hooks))
    assert sum(map(world.repeats, hooks)) == 0


@pytest.mark.parametrize(
    ("layout", "action", "refs"),
    [
        ("-7", "c", "{NULL,1,1,1}"),
        ("(select min(id) from cdc.layout)", "c", "{}"),
        ("(select min(id) from cdc.layout)", "c", "{NULL,1}"),
        ("(select id from cdc.layout where event = 'candidate_changed')", "x", "{NULL,1,1,1}"),
        (
            "(select id from cdc.layout where event = 'project_changed')",
            "c",
            "{{NULL,1},{1,1},{1,1}}",
        ),
    ],
)
async def test_an_unreadable_row_dies_and_the_others_continue(
    world: World, layout: str, action: str, refs: str
) -> None:
    """The owner of a table of the suite can write such a row."""
    hook = await world.hook("candidate")
    writer = await world.writer()
    async with Running(world.url, retry_schedule=[]) as daemon:
        await daemon.until("connected")
        await world.run(
            "insert into cdc.queue (webhook_id, layout, action, time, refs)"
            f" values (%s, {layout}, %s, now(), %s)",
            hook.id,
            action,
            refs,
        )
        await writer.insert("candidate", project_id=1)
        await world.arrived(hook)
        await world.until("select last_error = 'mapping' from cdc.dead")
        await world.settled()


# A key of text may be as long as the index of its table takes, compressed. The first is too long
# for our own index of the retry table; the others would fill the memory.
LONG = {
    "own key": "(select string_agg(md5(n::text), '') from generate_series(1, 100) n)",
    "own key, compressible": "repeat('x', 200000)",
    "parent's key": "'1'",
}
WRITE_LONG = """
insert into cdc.queue (webhook_id, layout, action, time, refs)
select %s, id, 'c', now(), array[null, '1', {parent}, {key}]
  from cdc.layout where event = 'candidate_changed'
"""


@pytest.mark.parametrize("which", LONG)
async def test_keys_without_end_die_and_the_others_go_on(world: World, which: str) -> None:
    hook = await world.hook("candidate")
    writer = await world.writer()
    parent = "repeat('x', 1000000)" if which == "parent's key" else "'1'"
    write = WRITE_LONG.format(parent=parent, key=LONG[which])
    async with Running(world.url, retry_schedule=[0.02], breaker_failures=1000) as daemon:
        await daemon.until("connected")
        for _ in range(2):
            await world.run(write, hook.id)
        await writer.insert("candidate", project_id=1)
        await world.arrived(hook)
        await world.until("select count(*) = 2 from cdc.dead")
        await world.settled()
        assert daemon.log.all("settling failed") == []
    assert await world.all(
        "select distinct event, length(key), tries, last_error, max(length(refs::text)) > 3000"
        " from cdc.dead group by 1, 2, 3, 4"
    ) == [("candidate_changed", 36, 2, "mapping", True)]
    [(detail,)] = await world.all("select distinct detail from cdc.attempt where outcome = 'dead'")
    assert "exceed the daemon's limit" in detail
    assert "shorter keys" in detail, "what to do about it"


async def test_what_an_open_transaction_has_written_costs_a_fetch_nothing(world: World) -> None:
    """It lies behind what there is to read, and one statement reads for many lanes."""
    hook = await world.hook("candidate")
    conn, writer = await open_session(world.url, "test"), await world.writer()
    looker, fetcher = Looker(conn, Lease()), Fetcher(conn, Layouts())
    await looker.begin()
    await writer.insert("candidate", project_id=1)
    seen = await looker.look(arm=None)
    async with writer.transaction():
        await writer.write(
            "candidate",
            "created",
            "insert into candidate (project_id) select 1 from generate_series(1, 20000)"
            " returning id, name",
        )
        read = []
        for where in (dict(seen.news())[hook.id], Span(0)):
            before = await pages_read(conn)
            plan = {hook.id: FetchPlan(*where, 10, 10)}
            assert len((await fetcher.fetch(plan, seen.snapshot))[hook.id].rows) == 1
            read.append(await pages_read(conn) - before)
        assert read[0] < 30
        assert read[1] > 200, "what it costs to look whether there is more"
    await conn.close()


async def test_a_list_of_nulls_without_end_is_not_brought(world: World) -> None:
    """It takes little room as it is stored, and no letter."""
    [(uid, brought, few)] = await world.all(
        "select u, cdc.brought(array_fill(null::text, array[100000]), u),"
        "       cdc.brought(array[null, '1', '2'], u) from gen_random_uuid() u"
    )
    assert (brought, few) == (["unfit", str(uid)], [None, "1", "2"])


async def test_no_way_brings_keys_without_end_into_memory(world: World) -> None:
    hook = await world.hook("candidate")
    conn = await open_session(world.url, "test")
    looker, fetcher = Looker(conn, Lease()), Fetcher(conn, Layouts())
    await looker.begin()
    await world.run("alter sequence cdc.queue_id restart with 100")
    write = WRITE_LONG.format(parent="'1'", key="repeat('x', 200000)")
    made = await world.connect()
    async with made.transaction():
        await made.execute(write.encode(), [hook.id])
        modified = write.replace("'c'", "'m'").replace("repeat('x', 200000)", "'7'")
        await made.execute(modified.encode(), [hook.id])
        await made.execute(write.replace("200000", "2000").encode(), [hook.id])
        await made.execute(write.replace("repeat('x', 200000)", "'7'").encode(), [hook.id])
        await made.execute(modified.encode(), [hook.id])
    seen = await looker.look(arm=None, shards=list(range(64)))
    assert seen.rows is not None
    plan = {hook.id: FetchPlan(*Span(0), 10, 10)}
    ways = [
        await Layouts().deliveries(conn, seen.rows),
        (await fetcher.fetch(plan, seen.snapshot))[hook.id].rows,
    ]
    for rows in ways:
        sizes = [len("".join(str(ref) for ref in row.refs)) for row in rows]
        assert [size > 1000 for size in sizes] == [False, False, True, False, False]
        assert max(sizes) < 2100
        assert [row.layout.event for row in rows] == ["candidate_changed"] * 5
    await world.run(
        "with taken as (delete from cdc.queue where length(refs[4]) > 1 returning *)"
        " insert into cdc.retry (webhook_id, id, uid, xid, layout, action, time, refs, event, key,"
        " attempts, tries, due_at) select webhook_id, id, uid, xid, layout, action, time,"
        " refs, 'candidate_changed', md5(refs[4]), 1, 1, now() from taken"
    )
    due = (await fetcher.due({hook.id: DuePlan(10, ())}))[hook.id].rows
    assert [len(row.refs) for row in due] == [2, 4]
    await conn.close()


async def test_layouts_are_read_again_only_for_one_that_is_not_known(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They never change; another mapping adds some."""
    await world.hook("candidate")
    loads = 0
    load = Layouts.load

    async def counted(self: Layouts, conn: Connection) -> None:
        nonlocal loads
        loads += 1
        await load(self, conn)

    monkeypatch.setattr(Layouts, "load", counted)
    writer = await world.writer()
    async with Running(world.url) as daemon:
        await daemon.until("connected")
        before = loads
        for count in range(1, 4):
            await writer.insert("candidate", project_id=1)
            await world.receiver.wait_for(count)
        assert loads == before
        async with writer.transaction():
            await writer.conn.execute(
                b"insert into cdc.layout (id, event, fields)"
                b" select 2000000000, event, array[fields[1], fields[3], fields[2], fields[4]]"
                b"   from cdc.layout"
                b"  where event = 'candidate_changed'"
            )
            await writer.insert("candidate", project_id=1)
            await writer.conn.execute(b"update cdc.queue set layout = 2000000000")
        await world.receiver.wait_for(4)
        assert loads == before + 1
