"""Deleted rows, from the statement to the POST: in order with what comes before and after."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from cdc.mapping import load_mapping
from cdc.sandbox.receiver import Reply, Script
from tests.capture.kit import Suite
from tests.capture.test_deleted import mapping as all_deleted
from tests.cli.command import Command
from tests.daemon.running import Running
from tests.daemon.world import Hook, World

REFUSING = Script(reply=Reply(500))
# One key: updated, deleted, inserted, updated and deleted in a transaction, and inserted again.
LIVES = """
begin;
update rating set stars = 2 where id = 1; delete from rating where id = 1;
insert into rating values (1, 1, 1); update rating set stars = 3 where id = 1;
delete from rating where id = 1;
commit;
insert into rating values (1, 1, 1);
"""
ACTIONS = ["modified", "deleted", "created", "modified", "deleted", "created"]


@pytest.fixture
def mapping(world: World, tmp_path: Path) -> Path:
    """Installed, with ``deleted`` for each event; a candidate and its rating are there."""
    path = tmp_path / "mapping.toml"
    path.write_text(all_deleted().source)
    suite = Suite(world.url)
    try:
        suite.install(load_mapping(path))
        suite.run("insert into candidate values (1, 1); insert into rating values (1, 1, 1)")
    finally:
        suite.close()
    return path


async def wanting(world: World, *tables: str) -> Hook:
    hook = await world.hook(*tables)
    await world.run("update cdc.subscription set actions = 'cmd' where webhook_id = %s", hook.id)
    return hook


def sent(world: World, hook: Hook) -> list[str]:
    """Actions of what was taken, in the order in which it came first with success."""
    found: dict[str, str] = {}
    for got in world.came[hook.path]:
        assert got.verified, got.problem
        if got.status == 200:
            found.setdefault(got.uid, json.loads(got.body)["data"]["action"])
    return list(found.values())


async def test_a_deleted_row_arrives(world: World, mapping: Path) -> None:
    """And what its deletion deletes. A webhook that does not ask for it gets nothing."""
    asking, plain = await wanting(world, "candidate", "rating"), await world.hook("rating")
    async with Running(world.url, mapping=mapping):
        await world.run(
            "alter table rating drop constraint rating_candidate_id_fkey,"
            " add foreign key (candidate_id) references candidate on delete cascade"
        )
        await world.run("delete from candidate where id = 1")
        await world.run("insert into candidate values (1, 1)")
        await world.run("insert into rating values (2, 1, 1)")
        await world.receiver.wait_for(
            lambda _: len(world.done[asking.path]) == 4 and len(world.done[plain.path]) == 1
        )
        await world.settled()
    bodies = [json.loads(got.body) for got in world.came[asking.path]]
    base = "https://interview-suite.com/api/v3/companies/1/projects/1/"
    # Of the two ratings, either may come first: the order is that of a row.
    ratings = [b["data"] for b in bodies if b["event"] == "rating_changed"]
    (rating,) = [data for data in ratings if data["action"] == "deleted"]
    assert rating == {
        "action": "deleted",
        "project": base,
        "candidate": f"{base}candidates/1/",
        "rating": f"{base}candidates/1/ratings/1/",
    }
    candidate = [b["data"]["action"] for b in bodies if b["event"] == "candidate_changed"]
    assert candidate == ["deleted", "created"]
    assert [json.loads(got.body)["data"]["action"] for got in world.came[plain.path]] == ["created"]


@pytest.mark.parametrize("window", [2, 100])
async def test_order_within_a_transaction(world: World, mapping: Path, window: int) -> None:
    hook = await wanting(world, "rating")
    async with Running(world.url, mapping=mapping, window=window):
        await world.run(LIVES)
        await world.receiver.wait_for(lambda _: len(world.done[hook.path]) == len(ACTIONS))
        await world.settled()
    assert sent(world, hook) == ACTIONS


async def test_order_in_retries_and_over_a_restart(world: World, mapping: Path) -> None:
    hook = await wanting(world, "rating")
    world.receiver.script(hook.path, REFUSING)
    values: dict[str, Any] = {"retry_schedule": ",".join(["0.1"] * 50), "breaker_failures": 99}
    async with Running(world.url, mapping=mapping, **values):
        await world.run(LIVES)
        await world.until("select count(*) = 6 from cdc.retry")
    async with Running(world.url, mapping=mapping, **values):
        world.receiver.script(hook.path, Script())
        await world.receiver.wait_for(lambda _: len(world.done[hook.path]) == len(ACTIONS))
        await world.settled()
    assert sent(world, hook) == ACTIONS


async def test_order_of_what_is_replayed(world: World, mapping: Path) -> None:
    hook = await wanting(world, "rating")
    cdc = Command({"CDC_DATABASE_URL": world.url, "CDC_MAPPING": str(mapping)})
    async with Running(world.url, mapping=mapping):
        await world.run(LIVES)
        await world.receiver.wait_for(lambda _: len(world.done[hook.path]) == len(ACTIONS))
        await world.settled()
    asked = ["--webhook", hook.id, "--outcome", "delivered", "--yes"]
    await asyncio.to_thread(cdc.good, "delivery", "replay", *asked)
    assert await world.all("select id from cdc.retry where due_at is not null") == await world.all(
        "select min(id) from cdc.retry"
    )
    world.came.clear()
    async with Running(world.url, mapping=mapping):
        await world.receiver.wait_for(lambda _: len(world.came[hook.path]) == len(ACTIONS))
        await world.settled()
    assert sent(world, hook) == ACTIONS


async def test_what_capture_has_kept_is_forgotten(world: World, mapping: Path) -> None:
    """Once its transaction has ended, but for those with a change that waits for late capture."""
    await wanting(world)
    await world.run("delete from rating; delete from candidate")
    await world.run("begin; delete from project where id = 2; commit")
    xid = await world.one("select max(xid)::text from cdc.gone")
    await world.run(
        "insert into cdc.unresolved"
        " (xid, resource, source, key, action, time, own, reason, retry_at)"
        " values (%s::text::xid8, 'x', 'x', '1', 'd', now(), '{}', '', 'infinity')",
        xid,
    )
    running = await world.connect()
    await running.execute("begin; insert into candidate values (7, 1); delete from candidate")
    async with Running(world.url, mapping=mapping):
        await world.until("select count(*) = 1 from cdc.gone")
        await running.execute("commit")
        assert await world.one("select xid::text = %s from cdc.gone where xid::text = %s", xid, xid)
