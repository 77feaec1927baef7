"""Tests of webhooks: asked for as rows, sent by the daemon that owns the webhook."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest

from cdc.daemon.store.session import open_session, run
from cdc.message.trial import SENT_WITHIN_S
from cdc.model import shard_of
from cdc.postgres.advisory_locks import TRIAL_LOCKS
from cdc.sandbox.receiver import Reply, Script
from cdc.webhooks import trials
from cdc.webhooks.trials import TooManyTrials
from tests.daemon.asked import Asked
from tests.daemon.gate import Gate
from tests.daemon.running import Process, Running
from tests.daemon.world import World

AGED = "update cdc.task set created_at = created_at - interval '1 second' * %s"


@pytest.fixture
def asked(world: World) -> Asked:
    return Asked(world)


async def test_a_test_is_signed_and_leaves_nothing_behind(world: World, asked: Asked) -> None:
    """While the webhook is paused, too."""
    hook = await world.hook("candidate", "rating", state="paused")
    before = await world.version(hook)
    async with Running(world.url) as daemon:
        first = asked.start(hook, "rating_changed")
        done = await asked.ended(hook)
        [got] = world.came[hook.path]
        assert (got.problem, got.verified) == (None, True)
        body = json.loads(got.body)
        assert (body["event"], body["data"]["action"]) == ("rating_changed", "test")
        assert body["data"]["rating"].endswith("/companies/1/projects/0/candidates/0/ratings/0/")
        result = done["result"]
        assert (done["id"], done["state"], done["error"]) == (first, "done", None)
        assert (result["ok"], result["status"], result["uid"]) == (True, 200, got.uid)
        world.receiver.script(hook.path, Script(reply=Reply(503, b"closed\n")))
        asked.start(hook)
        result = (await asked.ended(hook))["result"]
        assert (result["ok"], result["event"]) == (False, "candidate_changed")
        assert (result["cause"], result["excerpt"]) == ("status 503", "closed")
        assert "503" in result["sentence"]
        assert result["todo"]
    assert daemon.log.all("maintenance failed") == []
    assert await world.one("select count(*) from cdc.attempt") == 0
    assert await world.version(hook) == before


async def test_a_webhook_that_cannot_be_sent_to(world: World, asked: Asked) -> None:
    sealed, gone, erased = await world.hook(), await world.hook(), await world.hook()
    await world.run(
        "update cdc.webhook_secret set secret = 'cdc-sealed:x' where webhook_id = %s", sealed.id
    )
    asked.start(sealed)
    asked.start(gone)
    asked.start(erased)
    await world.run("update cdc.webhook set state = 'removed' where id = %s", gone.id)
    await world.run("delete from cdc.webhook where id = %s", erased.id)  # by a DBA
    async with Running(world.url):
        assert "CDC_SECRET_KEYS" in (await asked.ended(sealed))["error"]
        for hook in (gone, erased):
            done = await asked.ended(hook)
            assert (done["state"], done["result"], done["error"]) == (
                "failed", None, "the webhook was removed",
            )  # fmt: skip
    assert not world.came


async def test_a_test_that_is_late_is_given_up_and_never_sent(world: World, asked: Asked) -> None:
    late, hook = await world.hook(), await world.hook()
    asked.start(late)
    await world.run(AGED, SENT_WITHIN_S + 1)
    async with Running(world.url):
        # One that is asked for later is sent: the look has seen both.
        asked.start(hook)
        assert (await asked.ended(hook))["result"]["ok"]
    assert asked.newest(late)["state"] == "waiting"
    asked.give_up()
    found = asked.newest(late)
    assert (found["state"], found["error"].partition(":")[0]) == (
        "failed", "no daemon has sent it within 30 s",
    )  # fmt: skip
    assert not world.came[late.path]


async def test_of_a_daemon_that_ended_the_answer_is_not_awaited(world: World, asked: Asked) -> None:
    hook = await world.hook()
    gate = Gate(world, hook.path)
    async with Running(world.url):
        asked.start(hook)
        await gate.reached()
        await world.run(AGED, SENT_WITHIN_S + 1)
        asked.give_up()
        assert asked.newest(hook)["state"] == "running"
        await world.run(AGED, trials.ENDED_WITHIN_S)
        asked.give_up()
        assert asked.newest(hook)["state"] == "failed"
        gate.open()
        # An answer that comes after all changes nothing.
        asked.start(hook)
        assert (await asked.ended(hook))["result"]["ok"]
    states = await world.all("select state, result is null from cdc.task order by created_at")
    assert states == [("failed", True), ("done", False)]


async def test_of_a_daemon_that_was_killed_it_fails_at_once(world: World, asked: Asked) -> None:
    hook = await world.hook()
    gate = Gate(world, hook.path)
    async with Process(world.url) as daemon:
        asked.start(hook)
        await gate.reached()
        asked.give_up()
        assert asked.newest(hook)["state"] == "running"
        daemon.signal(signal.SIGKILL)
        await daemon.ended()
    gate.open()
    await world.until(
        "select count(*) = 0 from pg_locks where locktype = 'advisory' and classid = %s",
        TRIAL_LOCKS,
    )
    asked.give_up()
    found = asked.newest(hook)
    assert (found["state"], found["error"]) == (
        "failed", "the daemon that sent it ended before the answer was recorded: test again",
    )  # fmt: skip


@pytest.mark.parametrize("meanwhile", ["nothing", "cancelled", "row locked"])
async def test_the_lock_of_a_test_ends_with_it(world: World, asked: Asked, meanwhile: str) -> None:
    """Another one goes on in the same session, whose lock stays."""
    hook, other = await world.hook(), await world.hook()
    gate, gate_of_other = Gate(world, hook.path), Gate(world, other.path)
    async with Running(world.url) as daemon:
        first = asked.start(hook)
        second = asked.start(other)
        await world.receiver.wait_for(lambda got: len(got) == 2)
        if meanwhile == "cancelled":
            await world.run("update cdc.task set state = 'cancelled' where id = %s", first)
        conn = await world.connect()
        async with conn.transaction():
            if meanwhile == "row locked":
                await conn.execute("select from cdc.task where id = %s for update", [first])
            gate.open()
            await world.until(
                "select array_agg(objid) = array[(hashtext(%s)::bigint & 4294967295)::oid]"
                "  from pg_locks where locktype = 'advisory' and classid = %s",
                str(second),
                TRIAL_LOCKS,
            )
        assert bool(daemon.log.all("maintenance failed")) == (meanwhile == "row locked")
        asked.give_up()
        ended = {"nothing": "done", "cancelled": "cancelled", "row locked": "failed"}[meanwhile]
        assert asked.newest(hook)["state"] == ended
        assert asked.newest(other)["state"] == "running"
        gate_of_other.open()
        assert (await asked.ended(other))["result"]["ok"]


async def test_what_is_malformed_fails_alone(world: World, asked: Asked) -> None:
    """Only the account of `cdc serve` could write such a request."""
    hook = await world.hook()
    odd: list[Any] = [
        {"events": "candidate_changed"}, {"events": {"a": 1}}, [], "x", None, 7, {"events": None},
        {"events": ["candidate_changed"], "challenge": "other"},
        {"events": ["candidate_changed"], "challenge": {"a": "echo"}},
        {"events": [str(n) * 40 + "".join(map(chr, range(33, 90))) for n in range(5000)]},
        {"events": []}, {"events": [1, None, ["a"], "\u2028"]},
    ]  # fmt: skip
    insert = "insert into cdc.task (kind, actor, webhook_id, request) values ('test', 'me', %s, %s)"
    for request in odd:
        await world.run(insert, hook.id, json.dumps(request))
    await world.run(insert, hook.id, json.dumps({"events": ["candidate_changed"]}))
    async with Running(world.url) as daemon:
        await asked.ended(hook)
        # The session was for them alone.
        await world.until(
            "select count(*) = 0 from pg_stat_activity where application_name = 'cdc test'"
        )
    assert daemon.log.all("maintenance failed") == []
    states = await world.all("select state, count(*) from cdc.task group by 1 order by 1")
    assert states == [("done", 1), ("failed", len(odd))]
    assert len(world.came[hook.path]) == 1


async def test_only_the_owner_takes_it(world: World, asked: Asked) -> None:
    """The fence: an epoch that has passed takes nothing; a test is taken once."""
    hook = await world.hook()
    asked.start(hook)
    shard = shard_of(hook.id)
    await world.run("update cdc.shard set epoch = 7 where id = %s", shard)
    conn = await open_session(world.url, "test")
    try:
        await conn.execute(b"set role cdc_daemon")
        assert await run(conn, "trial_claim", [[shard], [6], 10, 30, 1]) == []
        assert await run(conn, "trial_claim", [[shard + 1], [7], 10, 30, 1]) == []
        assert len(await run(conn, "trial_claim", [[shard], [7], 10, 30, 1])) == 1
        assert await run(conn, "trial_claim", [[shard], [7], 10, 30, 1]) == []
    finally:
        await conn.close()


async def test_a_webhook_is_tested_a_few_times_a_minute(world: World, asked: Asked) -> None:
    hook, other = await world.hook(), await world.hook()
    for _ in range(trials.TRIALS_PER_MINUTE):
        asked.start(hook)
    with pytest.raises(TooManyTrials) as refused:
        asked.start(hook)
    assert 1 <= refused.value.retry_after <= 60
    asked.start(other)
    await world.run(AGED, 61)
    asked.start(hook)
