"""Values of included fields: from the statement to the POST, in all its attempts, nowhere else."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from cdc.mapping import Mapping, load_mapping
from cdc.message import catalog
from cdc.sandbox.receiver import Reply, Script
from cdc.sandbox.suite import declaring
from tests.capture.kit import Suite
from tests.cli.command import Command
from tests.daemon.running import Running
from tests.daemon.world import Hook, World
from tests.house.files import TOP

REFUSING = Script(reply=Reply(500))
# A word to be found wherever it was written.
WORD = "überraschend"
INSERT = "insert into rating (id, candidate_id, stars, remark) values"


@pytest.fixture
def mapping(world: World, tmp_path: Path) -> Path:
    """Installed, with fields of ratings; a candidate is there."""
    path = tmp_path / "mapping.toml"
    declared = declaring("rating_changed", 'fields = ["stars", "remark"]', "deleted = true")
    path.write_text(declared.source)
    suite = Suite(world.url)
    try:
        suite.run("alter table rating add remark text; insert into candidate values (1, 1)")
        suite.install(load_mapping(path))
    finally:
        suite.close()
    return path


async def including(world: World, *fields: str, **columns: Any) -> Hook:
    hook = await world.hook("rating", **columns)
    await world.run(
        "update cdc.subscription set include = %s, actions = 'cmd' where webhook_id = %s",
        list(fields) or None,
        hook.id,
    )
    return hook


def data(world: World, hook: Hook, mapping: Mapping) -> list[dict[str, Any]]:
    """Of what came, the members of ``data``; each payload is valid by the catalog's schema."""
    schema = Draft202012Validator(catalog.schema(mapping, mapping.events["rating_changed"]))
    bodies = [json.loads(got.body) for got in world.came[hook.path]]
    for body in bodies:
        schema.validate(body)
    return [body["data"] for body in bodies]


def values(found: list[dict[str, Any]]) -> list[tuple[str, Any, Any]]:
    return [(one["action"], one.get("changed"), one.get("fields")) for one in found]


async def test_values_arrive(world: World, mapping: Path) -> None:
    """To the byte; another webhook gets what it got before."""
    with_values, plain = await including(world, "remark", "stars"), await including(world)
    async with Running(world.url, mapping=mapping):
        for sql in (
            f"{INSERT} (1, 1, 1, '{WORD}')",
            "update rating set stars = 2 where id = 1",
            "update rating set id = id where id = 1",
            "delete from rating where id = 1",
        ):
            await world.run(sql)
        await world.receiver.wait_for(
            lambda _: all(len(world.done[hook.path]) == 4 for hook in (with_values, plain))
        )
        await world.settled()
    loaded = load_mapping(mapping)
    assert values(data(world, with_values, loaded)) == [
        ("created", ["stars", "remark"], {"stars": 1, "remark": WORD}),
        ("modified", ["stars"], {"stars": 2, "remark": WORD}),
        ("modified", [], {"stars": 2, "remark": WORD}),
        ("deleted", ["stars", "remark"], {"stars": 2, "remark": WORD}),
    ]
    assert values(data(world, plain, loaded)) == [
        (action, None, None) for action in ("created", "modified", "modified", "deleted")
    ]
    base = "https://interview-suite.com/api/v3/companies/1/projects/1/"
    body = world.came[with_values.path][1].body
    assert body.decode("ascii").partition('"data": ')[2] == (
        f'{{"action": "modified", "project": "{base}", "candidate": "{base}candidates/1/", '
        f'"rating": "{base}candidates/1/ratings/1/", "changed": ["stars"], '
        '"fields": {"stars": 2, "remark": "\\u00fcberraschend"}}}'
    )


async def test_many_at_once(world: World, mapping: Path) -> None:
    """More than a look brings along: each with its own row's values."""
    hook = await including(world, "remark")
    async with Running(world.url, mapping=mapping):
        await world.run(
            "insert into rating (id, candidate_id, stars, remark)"
            " select g, 1, 1, 'r' || g from generate_series(1, 500) g"
        )
        await world.receiver.wait_for(lambda _: len(world.done[hook.path]) == 500)
        await world.settled()
    for one in data(world, hook, load_mapping(mapping)):
        assert one["fields"] == {"remark": f"r{one['rating'].split('/')[-2]}"}


async def test_all_attempts_have_them_and_the_log_has_not(world: World, mapping: Path) -> None:
    """Retried, parked behind it, dead and sent again: the values of its change."""
    hook = await including(world, "remark")
    world.receiver.script(hook.path, REFUSING)
    asked: dict[str, Any] = {"retry_schedule": "0.05,0.05", "breaker_failures": 99}
    cdc = Command({"CDC_DATABASE_URL": world.url, "CDC_MAPPING": str(mapping)})
    expected = [("created", ["remark"], {"remark": WORD})]
    expected += [("modified", ["remark"], {"remark": f"{WORD} {n}"}) for n in range(3)]
    async with Running(world.url, mapping=mapping, **asked):
        await world.run(f"{INSERT} (1, 1, 1, '{WORD}')")
        for n in range(3):
            await world.run("update rating set remark = %s where id = 1", f"{WORD} {n}")
        await world.until("select count(*) = 4 from cdc.dead")
        attempts = {got.body for got in world.came[hook.path]}
        assert len(attempts) == 4
        assert await world.one("select count(*) > 4 from cdc.attempt")
        for (log,) in await world.all("select to_jsonb(a)::text from cdc.attempt a"):
            assert WORD not in log
        assert await world.one("select count(*) = 4 from cdc.dead where included is not null")
        world.receiver.script(hook.path, Script())
        world.came.clear()
        await asyncio.to_thread(cdc.good, "delivery", "replay", "--webhook", hook.id, "--yes")
        await world.receiver.wait_for(lambda _: len(world.done[hook.path]) == 4)
        await world.settled()
        assert values(data(world, hook, load_mapping(mapping))) == expected
        assert {got.body for got in world.came[hook.path]} == attempts
        # What has ended is made again of its references: the log has no values.
        world.came.clear()
        outcome = ("--outcome", "delivered")
        await asyncio.to_thread(
            cdc.good, "delivery", "replay", "--webhook", hook.id, *outcome, "--yes"
        )
        await world.receiver.wait_for(lambda _: len(world.came[hook.path]) == 4)
        await world.settled()
        thin = [(action, None, None) for action, *_ in expected]
        assert values(data(world, hook, load_mapping(mapping))) == thin
        # So are rows of a backfill: with values, an old one could come after a newer one.
        world.came.clear()
        backfill = ("--webhook", hook.id, "--event", "rating_changed", "--as", "created")
        await asyncio.to_thread(cdc.good, "backfill", "start", *backfill)
        await world.receiver.wait_for(lambda _: len(world.came[hook.path]) == 1)
        await world.settled()
        assert values(data(world, hook, load_mapping(mapping))) == [("created", None, None)]


def test_what_brings_rows_bounds_their_values() -> None:
    queries = {path.stem: path.read_text("utf-8") for path in (TOP / "sql/queries").glob("*.sql")}
    bringing = {name for name, text in queries.items() if "cdc.brought(" in text}
    assert bringing == {"due", "fetch", "fetch_created", "glance", "look"}
    assert {name for name, text in queries.items() if "cdc.bounded(" in text} == bringing


LONG = """json_build_object('fields', repeat('x', 3000000))"""


async def test_a_row_that_capture_has_not_written(world: World, mapping: Path) -> None:
    """Its owner's code can write any: what is too long, or no object, is left out, and the next row
    is sent. Whether it is there when the daemon starts, or comes while it looks."""
    hook = await including(world, "remark")
    await world.run(f"{INSERT} (1, 1, 1, 'first'), (2, 1, 1, 'second')")
    for key, forged in {"1": LONG, "2": "'[1, 2]'"}.items():
        await world.run(
            f"update cdc.queue set included = {forged} where refs[cardinality(refs)] = '{key}'"
        )
    assert await world.one("select count(*) = 2 from cdc.queue where included is not null")
    async with Running(world.url, mapping=mapping):
        await world.receiver.wait_for(lambda _: len(world.done[hook.path]) == 2)
        await world.settled()
        await world.run(
            "insert into cdc.queue (webhook_id, layout, action, time, refs, included)"
            f" select webhook_id, layout, action, time, refs, {LONG} from cdc.attempt limit 1"
        )
        await world.run(f"{INSERT} (3, 1, 1, 'third')")
        await world.receiver.wait_for(lambda _: len(world.done[hook.path]) == 4)
        await world.settled()
    found = values(data(world, hook, load_mapping(mapping)))
    assert found == [
        *[("created", None, None)] * 3,
        ("created", ["remark"], {"remark": "third"}),
    ]
