"""Rows that no capture function has written. Code of the owner of a table of the suite runs as
cdc_capture when capture reads the table, and that role may add to the queue: whatever is in such a
row, it stops neither the daemon nor the suite's writers, nor blinds those who look after both."""

from __future__ import annotations

import asyncio

import pytest

from cdc.mapping import default_mapping
from tests.cli.command import Command
from tests.daemon.running import Running
from tests.daemon.world import Hook, World

FORGED = {
    "after all time": {"time": "infinity"},
    "before all time": {"time": "-infinity"},
    "too late": {"time": "20000-01-01"},
    "too early": {"time": "4000-01-01 BC"},
    "the first year elsewhere": {"time": "0001-01-01 00:00:00+14"},
    "no letter": {"action": "\\377"},
    "no action": {"action": ""},
}


async def forge(world: World, hook: Hook, **columns: str) -> None:
    values = {"time": "2026-01-01", "action": "c", "id": "101", **columns}
    event = next(iter(default_mapping().events))
    await world.run(
        "set role cdc_capture;"
        "insert into cdc.queue (id, webhook_id, layout, action, time, refs)"
        f" values ({values['id']}, {hook.id},"
        f" (select min(id) from cdc.layout where event = '{event}'),"
        f" '{values['action']}', '{values['time']}', '{{NULL,1,1}}'); reset role"
    )


@pytest.mark.parametrize("which", FORGED)
async def test_an_unreadable_row_dies_and_the_others_continue(world: World, which: str) -> None:
    # The role reads no layout.
    await world.run("grant select on cdc.layout to cdc_capture")
    forged_for, hook = await world.hook("project"), await world.hook("candidate")
    writer = await world.writer()
    await forge(world, forged_for, **FORGED[which])
    await writer.insert("candidate", project_id=1)
    async with Running(world.url, retry_schedule=[]) as daemon:
        await world.arrived(hook)
        await forge(world, forged_for, **FORGED[which], id="102")
        await writer.insert("candidate", project_id=1)
        await world.arrived(hook)
        await world.until("select count(*) = 2 and min(last_error) = 'mapping' from cdc.dead")
        assert await world.all(
            "select duration_ms, outcome from cdc.attempt where error <> ''"
        ) == [
            (0.0, "dead"),
            (0.0, "dead"),
        ]
        assert daemon.log.all("failing", webhook=hook.id) == []
    assert world.came[forged_for.path] == []
    await seen_by_people(world)


async def seen_by_people(world: World) -> None:
    """They list it like any other, in whatever place it lies."""
    command = Command({"CDC_DATABASE_URL": world.url})
    await world.run("insert into cdc.queue select d.id, d.xid, d.webhook_id, d.uid, d.layout,"
                    " d.action, d.time, d.refs from cdc.dead d")  # fmt: skip
    for words in (
        ["delivery", "list", "--json"],
        ["status", "--json"],
        ["explain", "101", "--json"],
        ["delivery", "show", "101", "--json"],
    ):
        done = await asyncio.to_thread(command, *words)
        assert done.code in (0, 1), done
        assert isinstance(done.json, dict | list), done


@pytest.mark.parametrize(
    "number",
    [
        2**63 - 1,
        -(2**63),
        2**62,
    ],
)
async def test_a_number_at_the_end_fails_no_writer(world: World, number: int) -> None:
    await world.run("grant select on cdc.layout to cdc_capture")
    forged_for, hook = await world.hook("project"), await world.hook("candidate")
    await world.run("update cdc.webhook set state = 'paused' where id = %s", forged_for.id)
    writer = await world.writer()
    for _ in range(3):
        await forge(world, forged_for, id=str(number))
    before = await world.one("select last_value from cdc.queue_id")
    async with Running(world.url, window=2):
        await writer.insert("candidate", project_id=1)
        await world.arrived(hook)
        await world.run("update cdc.webhook set state = 'active' where id = %s", forged_for.id)
        await world.settled()
    assert await world.one("select last_value from cdc.queue_id") <= before + 1
