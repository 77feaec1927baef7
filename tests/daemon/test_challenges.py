"""Challenges of webhooks: tests whose answer may prove the endpoint."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest

from cdc.model import UNVERIFIED
from cdc.sandbox.receiver import Received, Reply, Script
from tests.daemon.asked import Asked
from tests.daemon.gate import Gate
from tests.daemon.running import Running
from tests.daemon.world import World


@pytest.fixture
def asked(world: World) -> Asked:
    return Asked(world)


WAITS = (
    "update cdc.webhook set state = 'paused', reason = %s, unverified_since = now() where id = %s"
)


def asks(got: Received) -> str:
    body = json.loads(got.body)
    assert (got.problem, list(body)) == (None, ["endpoint", "time", "event", "data"])
    assert (body["event"], list(body["data"])) == ("webhook_challenge", ["challenge"])
    return str(body["data"]["challenge"])


async def test_a_challenge_that_is_answered_begins_what_was_held(
    world: World, asked: Asked
) -> None:
    seen: list[str] = []

    def plain(got: Received) -> Reply:
        if b"webhook_challenge" not in got.body:
            return Reply()
        seen.append(asks(got))
        return Reply(body=seen[-1].encode() + b"\n")

    def as_json(got: Received) -> Reply:
        seen.append(asks(got))
        return Reply(body=json.dumps({"challenge": seen[-1]}, indent=2).encode())

    first, second = await world.hook("candidate"), await world.hook("note")
    for hook, answer in ((first, plain), (second, as_json)):
        await world.run(WAITS, UNVERIFIED, hook.id)
        world.receiver.script(hook.path, Script(answer=answer))
        asked.challenge(hook)
    await (await world.writer()).insert("candidate", project_id=1)
    async with Running(world.url):
        for hook in (first, second):
            assert (await asked.ended(hook))["result"]["ok"]
            await world.until(
                "select state = 'active' and unverified_since is null and reason = ''"
                " from cdc.webhook where id = %s",
                hook.id,
            )
        await world.until("select count(*) = 1 from cdc.attempt where webhook_id = %s", first.id)
    kept = str(await world.all("select t::text from cdc.task t"))
    assert "***" in kept
    assert not [text for text in seen if text in kept]


async def test_what_proves_nothing(world: World, asked: Asked) -> None:
    """Another text, an earlier challenge's, all of the request, an error, 2xx where an echo is
    asked for; nothing of these where any 2xx suffices, but the error."""
    earlier = "x" * 43
    answers: list[Any] = [
        lambda got: Reply(body=b"ok"),
        lambda got: Reply(body=earlier.encode()),
        lambda got: Reply(body=got.body),
        lambda got: Reply(403, asks(got).encode()),
        lambda got: 204,
    ]
    hook = await world.hook()
    waits = "select unverified_since is not null and state = 'paused' from cdc.webhook"
    async with Running(world.url):
        for answer in answers:
            await world.run("delete from cdc.task")
            await world.run(WAITS, UNVERIFIED, hook.id)
            world.receiver.script(hook.path, Script(answer=answer))
            asked.challenge(hook)
            result = (await asked.ended(hook))["result"]
            assert (result["ok"], result["cause"]) == (
                False, "status 403" if result["status"] == 403 else "challenge",
            )  # fmt: skip
            assert await world.one(f"{waits} where id = %s", hook.id)
        await world.run("delete from cdc.task")
        asked.challenge(hook, "accept")
        assert (await asked.ended(hook))["result"]["ok"]
        assert not await world.one(f"{waits} where id = %s", hook.id)


async def test_an_endpoint_that_was_changed_meanwhile_is_not_proven(
    world: World, asked: Asked
) -> None:
    hook = await world.hook()
    gate = Gate(world, hook.path, lambda got: Reply(body=asks(got).encode()))
    await world.run(WAITS, UNVERIFIED, hook.id)
    async with Running(world.url):
        asked.challenge(hook)
        await gate.reached()
        await world.run(
            "update cdc.webhook set endpoint = endpoint || '/other' where id = %s", hook.id
        )
        gate.open()
        assert (await asked.ended(hook))["result"]["ok"]
        state = "select state, reason from cdc.webhook where unverified_since is not null"
        assert await world.all(state) == [("paused", UNVERIFIED)]


async def test_a_pause_of_a_persons_stays_when_the_endpoint_is_proven(
    world: World, asked: Asked
) -> None:
    hook = await world.hook()
    await world.run(WAITS, "they move", hook.id)
    async with Running(world.url):
        asked.challenge(hook)
        await asked.ended(hook)
    state = "select state, reason from cdc.webhook where unverified_since is null"
    assert await world.all(state) == [("paused", "they move")]


async def test_no_webhook_is_active_before_its_endpoint_is_proven(world: World) -> None:
    hook = await world.hook()
    await world.run(WAITS, UNVERIFIED, hook.id)
    for state in ("active", "suspended"):
        with pytest.raises(psycopg.errors.CheckViolation):
            await world.run("update cdc.webhook set state = %s where id = %s", state, hook.id)
