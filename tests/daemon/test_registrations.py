"""Registrations change while the daemon runs: it follows, without restart and within a second."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from cdc.daemon.dispatch.register import RENEWED_REASON, again_in
from cdc.daemon.maintenance import schedule
from cdc.daemon.worker import UNUSABLE_RETRY_S, ActiveRegistration, Worker, rules_of
from cdc.lanes import Lane, LaneRules
from cdc.mapping import default_mapping
from cdc.message.signing import Sealer
from cdc.message.signing_keys import new_secret
from cdc.model import Webhook, WebhookState
from cdc.sandbox.receiver import Reply, Script
from cdc.webhooks.model import Changes, Rules
from cdc.webhooks.registry import Registry
from tests.daemon.running import Running, settings
from tests.daemon.world import Hook, World

# What a person notices as "at once", on a machine that has other things to do.
SOON = 3.0


async def state(world: World, hook: Hook, state: str) -> None:
    await world.run("update cdc.webhook set state = %s where id = %s", state, hook.id)


async def acknowledged(world: World, hook: Hook) -> None:
    """Waits until the owner acts on the registration as it is now."""
    await world.until(
        "select l.version >= w.version from cdc.webhook w join cdc.lane l on l.webhook_id = w.id"
        " where w.id = %s",
        hook.id,
        limit=SOON,
    )


async def test_a_new_webhook_gets_what_is_written_from_then_on(world: World) -> None:
    writer = await world.writer()
    async with Running(world.url) as daemon:
        await daemon.until("connected")
        await writer.insert("candidate", project_id=1)
        world.ledger.entries.clear()  # no webhook was registered
        hooks = [await world.hook() for _ in range(3)]
        await writer.insert("candidate", project_id=1)
        await world.arrived(*hooks, limit=SOON)


async def test_paused_it_collects_and_resumed_it_sends_in_order(world: World) -> None:
    hook, other = await world.hook(), await world.hook()
    writer = await world.writer()
    async with Running(world.url, window=5):
        key = await writer.insert("candidate", project_id=1)
        await world.arrived(hook, other)
        await state(world, hook, "paused")
        await acknowledged(world, hook)
        sent = len(world.came[hook.path])
        for _ in range(20):
            await writer.change("candidate", key)
        await world.arrived(other)
        assert len(world.came[hook.path]) == sent
        began = time.monotonic()
        await state(world, hook, "active")
        await world.arrived(hook)
        assert time.monotonic() - began < SOON
        await world.settled()


async def test_a_pause_is_acknowledged_when_nothing_is_in_flight(world: World) -> None:
    hook = await world.hook()
    going, go_on = asyncio.Event(), asyncio.Event()

    async def answer(_: object) -> int:
        going.set()
        await go_on.wait()
        return 204

    world.receiver.script(hook.path, Script(answer=answer))
    writer = await world.writer()
    async with Running(world.url) as daemon:
        key = await writer.insert("candidate", project_id=1)
        await going.wait()
        await writer.change("candidate", key)
        await state(world, hook, "paused")
        await daemon.until("registration changed", state="paused")
        # The proof that it had the time to: a later registration is acknowledged.
        later = await world.hook()
        await state(world, later, "paused")
        await acknowledged(world, later)
        lane = "select coalesce(max(version), 0) from cdc.lane where webhook_id = %s"
        assert await world.one(lane, hook.id) < await world.version(hook)
        go_on.set()
        await acknowledged(world, hook)
        await world.until("select count(*) = 1 from cdc.attempt")
        assert len(world.came[hook.path]) == 1
        await state(world, hook, "active")
        await world.arrived(hook)


async def test_removed_it_gets_nothing_more_and_the_rest_is_logged(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "REMOVED_EVERY_S", 0.1)
    hook, other = await world.hook(), await world.hook()
    world.receiver.script(hook.path, Script(reply=Reply(503)))
    writer = await world.writer()
    late = await world.connect()
    async with Running(world.url, attempts=True) as daemon:
        for _ in range(5):
            await writer.insert("candidate", project_id=1)
        await world.until("select exists (select from cdc.retry)")
        # A writer that is still open brings a stray after the removal.
        async with late.transaction():
            await late.execute(b"insert into project (company_id) values (1)")
            await world.run("delete from cdc.subscription where webhook_id = %s", hook.id)
            await world.run("delete from cdc.webhook_secret where webhook_id = %s", hook.id)
            await state(world, hook, "removed")
            await daemon.until("dropped for a removed webhook")
            sent = len(world.came[hook.path])
        gone = "select not exists (select from cdc.queue where webhook_id = %s)"
        await world.until(gone, hook.id)
        assert await world.one("select not exists (select from cdc.retry)")
        log = "select count(*) from cdc.attempt where webhook_id = %s and outcome = 'dropped'"
        assert await world.one(log, hook.id) == 6
        await writer.insert("candidate", project_id=1)
        await world.receiver.wait_for(lambda _: len(world.done[other.path]) == 7)
        assert len(world.came[hook.path]) == sent


async def test_while_a_secret_is_rotated_both_sign(world: World) -> None:
    hook = await world.hook()
    writer = await world.writer()
    new = new_secret()

    async def sent() -> list[str]:
        await writer.insert("candidate", project_id=1)
        await world.arrived(hook, limit=SOON)
        return world.came[hook.path][-1].headers["webhook-signature"].split()

    async with Running(world.url) as daemon:
        assert len(await sent()) == 1
        async with world.conn.transaction():
            await world.run(
                "update cdc.webhook_secret set expires_at = clock_timestamp() + interval '2 s'"
                " where webhook_id = %s",
                hook.id,
            )
            await world.run(
                "insert into cdc.webhook_secret (webhook_id, secret, created_at)"
                " values (%s, %s, clock_timestamp())",
                hook.id,
                new,
            )
            await world.run("update cdc.webhook set description = 'x' where id = %s", hook.id)
        await daemon.until("registration changed", webhook=hook.id, version=2)
        assert len(await sent()) == 2  # verified with the old one
        world.receiver.expect(hook.path, new)
        await sent()  # and with the new one
        # The old one runs out, without a notification.
        await daemon.until("registration changed", webhook=hook.id, version=2, times=2)
        assert len(await sent()) == 1


async def test_an_endpoint_moves(world: World) -> None:
    hook = await world.hook()
    writer = await world.writer()
    world.receiver.expect("/moved", hook.secret)
    async with Running(world.url) as daemon:
        key = await writer.insert("candidate", project_id=1)
        await world.arrived(hook)
        await world.run(
            "update cdc.webhook set endpoint = %s where id = %s",
            world.receiver.url("/moved"),
            hook.id,
        )
        await daemon.until("registration changed", webhook=hook.id)
        await writer.change("candidate", key)
        await world.receiver.wait_for(lambda _: len(world.done["/moved"]) == 1, SOON)
    assert len(world.came[hook.path]) == 1
    [got] = world.came["/moved"]
    assert got.verified
    assert json.loads(got.body)["endpoint"] == world.receiver.url("/moved")


async def test_another_endpoint_is_no_longer_judged_by_the_one_before(world: World) -> None:
    hook = await world.hook("candidate")
    world.receiver.script(hook.path, Script(reply=Reply(500)))
    world.receiver.expect("/right", hook.secret)
    settle = settings(world.url)
    writer = await world.writer()
    lane = "select breaker, failures, last_error from cdc.lane where webhook_id = %s"

    async def moves(url: str) -> None:
        with Registry(world.url, Rules.of(settle, default_mapping())) as registry:
            change = Changes(endpoint=url)
            await asyncio.to_thread(registry.update, hook.id, change)

    long: dict[str, Any] = {"breaker_first_probe": 60, "retry_schedule": [3600.0] * 3}
    async with Running(world.url, breaker_failures=3, **long) as daemon:
        async with writer.transaction():
            for _ in range(6):
                await writer.insert("candidate", project_id=1)
        await world.until(
            "select l.breaker = 'open' and l.last_error = 'status' from cdc.lane l"
            " where webhook_id = %s",
            hook.id,
        )
        await moves("http://127.0.0.1:1/")
        # All at once: what had to wait for an hour is due.
        await world.until(
            "select breaker = 'open' and last_error <> 'status' from cdc.lane"
            " where webhook_id = %s",
            hook.id,
            limit=SOON,
        )
        assert daemon.log.all("circuit breaker closed")[0].values["reason"] == RENEWED_REASON
        fail = daemon.log.all("deliveries fail")
        assert [line.values["error"] for line in fail] == ["status", "refused"]
        await moves(world.receiver.url("/right"))
        await world.receiver.wait_for(lambda _: len(world.done["/right"]) == 6, SOON)
        await world.settled()
        [(breaker, failures, error)] = await world.all(lane, hook.id)
        assert (breaker, failures, error) == ("closed", 0, None)


async def test_limits_change(world: World) -> None:
    hook = await world.hook("candidate", max_concurrency=1)
    flying = most = 0
    go_on = asyncio.Event()

    async def answer(_: object) -> int:
        nonlocal flying, most
        flying += 1
        most = max(most, flying)
        await go_on.wait()
        flying -= 1
        return 204

    world.receiver.script(hook.path, Script(answer=answer))
    writer = await world.writer()
    async with Running(world.url):
        async with writer.transaction():
            for _ in range(10):
                await writer.insert("candidate", project_id=1)
        await world.receiver.wait_for(lambda got: len(got) == 1)
        await world.run("update cdc.webhook set max_concurrency = 4 where id = %s", hook.id)
        await world.receiver.wait_for(lambda got: len(got) == 4, SOON)
        go_on.set()
        await world.arrived(hook)
    assert most == 4


async def test_a_registration_that_cannot_be_used_is_held(world: World) -> None:
    hook, other = await world.hook(), await world.hook()
    await world.run("delete from cdc.webhook_secret where webhook_id = %s", hook.id)
    writer = await world.writer()
    async with Running(world.url) as daemon:
        await writer.insert("candidate", project_id=1)
        await world.arrived(other)
        await daemon.until("registration cannot be used", webhook=hook.id)
        assert world.came[hook.path] == []
        async with world.conn.transaction():
            await world.run(
                "insert into cdc.webhook_secret (webhook_id, secret) values (%s, %s)",
                hook.id,
                hook.secret,
            )
            await world.run("update cdc.webhook set description = 'x' where id = %s", hook.id)
        await world.arrived(hook)


WEBHOOK = Webhook(
    7, "1", "https://abc.com/", WebhookState.ACTIVE, 3, (new_secret(),), cap=4, rate=0.5
)


def test_a_lane_goes_by_the_registration_and_the_settings() -> None:
    made = settings(
        "dbname=x",
        window=11,
        retry_schedule=[1, 2],
        retry_jitter=0.3,
        retry_after_cap=4,
        breaker_failures=6,
        breaker_first_probe=7,
        breaker_max_probe=8,
    )
    assert rules_of(WEBHOOK, made) == LaneRules(11, 4, 0.5, (1.0, 2.0), 0.3, 4.0, 6, 7.0, 8.0)


@pytest.mark.parametrize(
    ("sealed", "state", "secrets_for", "again"),
    [
        (True, WebhookState.ACTIVE, None, None),
        (True, WebhookState.ACTIVE, 9.0, 9.0),
        (False, WebhookState.ACTIVE, None, UNUSABLE_RETRY_S),
        (False, WebhookState.PAUSED, 9.0, UNUSABLE_RETRY_S),
        (False, WebhookState.REMOVED, None, None),
    ],
)
def test_a_registration_is_loaded_again_only_for_a_reason(
    sealed: bool, state: WebhookState, secrets_for: float | None, again: float | None
) -> None:
    webhook = replace(WEBHOOK, state=state)
    worker = Worker(webhook, Lane(7, LaneRules(), Random(1)), Sealer(webhook) if sealed else None)
    assert again_in(worker, ActiveRegistration(webhook, secrets_for)) == again
