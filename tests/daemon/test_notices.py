"""Notices: one for each thing that begins or ends, and none for what was said before."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from ipaddress import ip_network
from typing import Any

import pytest

from cdc.daemon import consequences
from cdc.daemon.maintenance import notices, schedule
from cdc.daemon.maintenance.notices import Terms
from cdc.daemon.store.session import open_session
from cdc.deliver.guard import Guard
from cdc.model import NOTICE_EVENT, SYSTEM
from cdc.sandbox.receiver import Receiver, Reply, Script
from cdc.settings.kinds import DAY
from cdc.telemetry import Observer
from cdc.webhooks.model import NewWebhook, Rules
from cdc.webhooks.registry import Registry
from tests.daemon.running import Log, Running, eventually
from tests.daemon.world import EVENTS, Hook, World

TERMS = Terms(5 * DAY, 14 * DAY, 14 * DAY)
EPOCHS = dict.fromkeys(range(64), 0)
QUICK: dict[str, Any] = {
    "retry_schedule": [0.05] * 99,
    "breaker_first_probe": 0.02,
    "breaker_max_probe": 0.1,
}


class Rounds:
    """Counts the rounds of maintenance that were completed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done = 0
        original = notices.run_once

        async def counted(*args: Any) -> None:
            await original(*args)
            self.done += 1

        monkeypatch.setattr(notices, "run_once", counted)
        monkeypatch.setattr(schedule, "NOTICES_EVERY_S", 0.05)
        monkeypatch.setattr(schedule, "SCHEDULE_READ_EVERY_S", 0.05)

    async def more(self) -> None:
        """Waits for two: the second one began after this was called."""
        wanted = self.done + 2
        await eventually(lambda: self.done >= wanted, "two rounds of maintenance")


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> Rounds:
    return Rounds(monkeypatch)


async def kinds(world: World, hook: Hook) -> list[str]:
    rows = await world.all("select kind from cdc.notice where webhook_id = %s order by id", hook.id)
    return [kind for (kind,) in rows]


async def said(world: World, hook: Hook, kind: str) -> tuple[Any, ...]:
    """Company, event, cause and sentence of the newest notice of a kind."""
    return (
        await world.all(
            "select company, event, cause, sentence from cdc.notice"
            " where webhook_id = %s and kind = %s order by id desc limit 1",
            hook.id,
            kind,
        )
    )[0]


async def noticed(
    world: World, *, succeeding: Sequence[int] = (), epochs: dict[int, int] | None = None
) -> Observer:
    """One round, without a daemon."""
    observer = Observer(log=Log())
    conn = await open_session(world.url, "test")
    try:
        await notices.run_once(conn, epochs or EPOCHS, succeeding, TERMS, observer)
    finally:
        await conn.close()
    return observer


async def test_a_webhook_that_fails_is_suspended_and_recovers(
    world: World, rounds: Rounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consequences, "FAILING_KEPT_AFTER_S", 0.2)
    monkeypatch.setattr(notices, "FAILING_KEPT_AFTER_S", 0.2)
    monkeypatch.setattr(notices, "SUSPENSION_ANNOUNCED_S", 0.7)
    bad, good = await world.hook("candidate"), await world.hook("candidate")
    world.receiver.script(bad.path, Script(reply=Reply(500)))
    writer = await world.writer()
    async with Running(world.url, suspend_after_days=1.2 / DAY, **QUICK) as daemon:
        await writer.insert("candidate", project_id=1)
        line = await daemon.until("notice", kind="suspended")
        assert line.values["webhook"] == bad.id
        assert await kinds(world, bad) == ["failing", "suspending", "suspended"]
        company, event, cause, text = await said(world, bad, "failing")
        assert (company, event, cause) == ("1", "candidate_changed", "status 500")
        assert text.startswith(f"Webhook {bad.id} has been failing since 20")
        assert "the receiver answered 500" in text
        assert "suspended at 20" in text
        assert "has been failing since" in (await said(world, bad, "suspending"))[3]
        assert "without one success" in (await said(world, bad, "suspended"))[3]
        # What lasts is not said again.
        await rounds.more()
        assert len(await kinds(world, bad)) == 3
        world.receiver.script(bad.path, Script())
        await world.run("update cdc.webhook set state = 'active' where id = %s", bad.id)
        await daemon.until("notice", kind="recovered", webhook=bad.id)
        assert "delivers again" in (await said(world, bad, "recovered"))[3]
        counted = daemon.observer.metrics.registry.get_sample_value
        assert counted("cdc_notices_total", {"kind": "recovered"}) == 1
        await rounds.more()
    written = await kinds(world, bad)
    assert written == ["failing", "suspending", "suspended", "recovered"]
    assert await kinds(world, good) == []
    # Nor by the daemon that takes over.
    async with Running(world.url, suspend_after_days=1.2 / DAY, **QUICK) as daemon:
        await daemon.until("connected")
        await writer.insert("candidate", project_id=1)
        await world.settled()
        await rounds.more()
    assert await kinds(world, bad) == written
    assert await kinds(world, good) == []


async def test_failing_goes_on_at_a_daemon_that_takes_over(
    world: World, rounds: Rounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few attempts do not open the breaker; that it fails is kept, and not said twice."""
    monkeypatch.setattr(consequences, "FAILING_KEPT_AFTER_S", 0.1)
    monkeypatch.setattr(notices, "FAILING_KEPT_AFTER_S", 0.1)
    hook = await world.hook("candidate")
    world.receiver.script(hook.path, Script(reply=Reply(500)))
    writer = await world.writer()
    few: dict[str, Any] = {"retry_schedule": [0.15, 0.15, 1000], "breaker_failures": 1000}
    async with Running(world.url, **few) as daemon:
        await writer.insert("candidate", project_id=1)
        await daemon.until("notice", kind="failing", webhook=hook.id)
    async with Running(world.url, **few) as daemon:
        await daemon.until("connected")
        await rounds.more()
        world.receiver.script(hook.path, Script())
        await writer.insert("candidate", project_id=1)
        await daemon.until("notice", kind="recovered", webhook=hook.id)
    assert await kinds(world, hook) == ["failing", "recovered"]


async def test_another_endpoint_has_not_recovered_before_it_answers(
    world: World, rounds: Rounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "FAILING_KEPT_AFTER_S", 0.05)
    hook = await world.hook("candidate")
    world.receiver.script(hook.path, Script(reply=Reply(500)))
    writer = await world.writer()
    slow: dict[str, Any] = {"retry_schedule": [1000], "breaker_failures": 1}
    async with Running(world.url, **slow, breaker_first_probe=1000, breaker_max_probe=1000) as one:
        await writer.insert("candidate", project_id=1)
        await one.until("notice", kind="failing")
        world.receiver.script("/new", Script(reply=Reply(500)))
        world.receiver.expect("/new", hook.secret)
        await world.run("update cdc.webhook set endpoint = %s", world.receiver.url("/new"))
        await one.until("registration changed")
        await world.until("select failing_since is null from cdc.lane")
        await rounds.more()
        assert await kinds(world, hook) == ["failing"]


async def test_dead_deliveries_are_reported_at_once_and_then_once_an_hour(
    world: World, rounds: Rounds
) -> None:
    hook = await world.hook("candidate")
    refused = Reply(422, headers={"webhook-delivery": "abort-message"})
    world.receiver.script(hook.path, Script(reply=refused))
    writer = await world.writer()
    async with Running(world.url) as daemon:
        await writer.insert("candidate", project_id=1)
        await daemon.until("notice", kind="dead", webhook=hook.id)
        for _ in range(2):
            await writer.insert("candidate", project_id=1)
        await world.until("select count(*) = 3 from cdc.dead")
        await rounds.more()
        _, event, cause, text = await said(world, hook, "dead")
        assert (event, cause) == ("candidate_changed", "status 422")
        assert text.startswith(f"1 delivery of webhook {hook.id} dead since 20")
        assert await kinds(world, hook) == ["dead"]
        # An hour later.
        await world.run(
            "update cdc.notice set at = at - interval '61 minutes',"
            " since = since - interval '61 minutes'"
        )
        await world.run("update cdc.dead set died_at = died_at - interval '61 minutes'")
        await daemon.until("notice", times=2, kind="dead")
    assert (await said(world, hook, "dead"))[3].startswith(f"2 deliveries of webhook {hook.id} ")


async def test_held_deliveries_that_expire_soon(world: World, rounds: Rounds) -> None:
    hook, late = await world.hook("candidate"), await world.hook("project", state="paused")
    writer = await world.writer()
    await world.run("update cdc.webhook set state = 'paused' where id = %s", hook.id)
    await writer.insert("candidate", project_id=1)
    await world.run("update cdc.webhook set since = since - interval '13 days'")
    await world.run("update cdc.queue set time = time - interval '11 days'")
    async with Running(world.url) as daemon:
        await daemon.until("connected")
        await rounds.more()
        assert await kinds(world, hook) == []
        await world.run("update cdc.queue set time = time - interval '25 hours'")
        await daemon.until("notice", kind="expiring", webhook=hook.id)
        await rounds.more()
    assert await kinds(world, hook) == ["expiring"]
    assert await kinds(world, late) == []
    assert "it has been paused since" in (await said(world, hook, "expiring"))[3]


async def test_dead_deliveries_of_many_webhooks(world: World) -> None:
    """Each shard's owner counts those of its own; what is older was before its time."""
    mine, other = await world.hook("candidate"), await world.hook("candidate")
    for hook, number, minutes in ((mine, 1, 0), (mine, 2, 5), (mine, 3, 180), (other, 4, 0)):
        await world.run(
            "insert into cdc.dead (webhook_id, id, uid, xid, layout, action, time, refs, event,"
            " key, attempts, tries, died_at, last_status, last_error)"
            " select %s, %s, gen_random_uuid(), '1', id, 'm', now(), '{}', event, 'x', 1, 1,"
            " now() - %s * interval '1 minute', 500, 'status' from cdc.layout"
            " where event = 'candidate_changed'",
            *(hook.id, number, minutes),
        )
    await noticed(world, epochs={mine.id % 64: 0})
    assert (await said(world, mine, "dead"))[3].startswith("2 deliveries of webhook")
    assert await kinds(world, other) == []


@pytest.fixture
async def operator() -> AsyncIterator[Receiver]:
    made = Receiver()
    await made.start()
    yield made
    await made.stop()


async def test_webhooks_of_the_system_get_each_notice(
    world: World, rounds: Rounds, operator: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signed, in order, and none about themselves."""
    monkeypatch.setattr(consequences, "FAILING_KEPT_AFTER_S", 0.1)
    monkeypatch.setattr(notices, "FAILING_KEPT_AFTER_S", 0.1)
    bad = await world.hook("candidate")
    world.receiver.script(bad.path, Script(reply=Reply(500)))
    registry = Registry(
        world.url, Rules(EVENTS, Guard([ip_network("127.0.0.0/8")], allow_http=True))
    )
    new = NewWebhook(SYSTEM, (NOTICE_EVENT,), operator.url("/ops"))
    with registry:
        added = registry.add(new)
    operator.expect("/ops", added.secret)
    operator.script("/ops", Script(reply=Reply(500)))
    writer = await world.writer()
    async with Running(world.url, **QUICK) as daemon:
        await writer.insert("candidate", project_id=1)
        await daemon.until("notice", kind="failing", webhook=bad.id)
        await daemon.until("notice", kind="failing", webhook=added.webhook.id)
        world.receiver.script(bad.path, Script())
        await daemon.until("notice", kind="recovered", webhook=bad.id)
        operator.script("/ops", Script())
        await daemon.until("notice", kind="recovered", webhook=added.webhook.id)
        await world.settled()
    taken = [got for got in operator.received if got.status == 200]
    assert all(got.verified for got in taken)
    bodies = [json.loads(got.body) for got in taken]
    assert [body["data"]["kind"] for body in bodies] == ["failing", "recovered"]
    rows = await world.all(
        "select id, company, kind, since, cause, event, sentence, webhook_id from cdc.notice"
        " where webhook_id = %s order by id",
        bad.id,
    )
    names = ("notice", "company", "kind", "since", "cause", "event", "sentence", "webhook")
    for body, row in zip(bodies, rows, strict=True):
        wanted = {**dict(zip(names, row, strict=True)), "action": "created"}
        since = datetime.fromisoformat(body["data"].pop("since"))
        assert since == wanted.pop("since")
        assert body["data"] == wanted
        assert (body["event"], body["endpoint"]) == ("webhook_notice", operator.url("/ops"))


async def test_a_daemon_that_has_lost_the_shard_writes_none(world: World) -> None:
    hook = await world.hook("candidate")
    await world.run("update cdc.webhook set state = 'suspended', reason = 'the receiver\n \x1b[0m'")
    assert (await noticed(world, epochs={hook.id % 64: 7})).log.lines == []
    assert await kinds(world, hook) == []
    observer = await noticed(world, epochs={hook.id % 64: 0})
    assert observer.log.all("notice", kind="suspended", webhook=hook.id)
    assert ": the receiver [0m. Its" in (await said(world, hook, "suspended"))[3]
    await world.run("update cdc.shard set epoch = 1")
    await noticed(world, epochs={hook.id % 64: 1})
    assert await kinds(world, hook) == ["suspended"]


async def test_old_notices_go_but_for_what_lasts(world: World) -> None:
    stays, gone = await world.hook("candidate"), await world.hook("project")
    await world.run("update cdc.webhook set state = 'suspended'")
    await noticed(world)
    await world.run(
        "insert into cdc.notice (kind, webhook_id, company, since, cause, sentence)"
        " select 'suspended', id, company, since - interval '3 days', '', '' from cdc.webhook"
    )
    await world.run("update cdc.notice set at = at - interval '20 days'")
    await world.run("update cdc.webhook set state = 'removed' where id = %s", gone.id)
    conn = await open_session(world.url, "test")
    await notices.prune(conn, 14 * DAY)
    await conn.close()
    await noticed(world)
    assert await kinds(world, stays) == ["suspended"]
    assert await kinds(world, gone) == []
