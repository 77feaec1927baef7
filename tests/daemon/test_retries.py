"""What failed is tried again, with the same bytes, in order, and ends where it should."""

from __future__ import annotations

import json
import time

import pytest

from cdc.daemon import consequences
from cdc.sandbox.receiver import Received, Reply, Script
from tests.daemon.running import Running, eventually
from tests.daemon.world import Hook, World


async def test_a_failed_delivery_waits_in_the_retry_table(world: World) -> None:
    hook = await world.hook("candidate")
    world.receiver.script(hook.path, Script(reply=Reply(500)))
    writer = await world.writer()
    async with Running(world.url, retry_schedule=[100, 200], retry_jitter=0.2):
        key = await writer.insert("candidate", project_id=1)
        await world.until("select exists (select from cdc.retry)")
    [sent] = world.came[hook.path]
    assert await world.all(
        "select uid::text, event, key, body, attempts, tries, last_status, last_error,"
        " extract(epoch from due_at - moved_at) between 79 and 121 from cdc.retry"
    ) == [(sent.uid, "candidate_changed", key, sent.body, 1, 1, 500, "status", True)]
    assert await world.one("select count(*) from cdc.queue") == 0


async def test_jitter_spreads_what_failed_together(world: World) -> None:
    hook = await world.hook("candidate", max_concurrency=100)
    world.receiver.script(hook.path, Script(reply=Reply(500)))
    writer = await world.writer()
    async with Running(world.url, retry_schedule=[100], retry_jitter=0.5, breaker_failures=1000):
        async with writer.transaction():
            for _ in range(40):
                await writer.insert("candidate", project_id=1)
        await world.until("select count(*) = 40 from cdc.retry")
    [(least, most)] = await world.all(
        "select min(extract(epoch from due_at - moved_at))::float8,"
        " max(extract(epoch from due_at - moved_at))::float8 from cdc.retry"
    )
    assert 49 < least < 80
    assert 120 < most < 151


async def test_all_attempts_send_the_same_bytes(world: World) -> None:
    """The retry is a later daemon's, with another base URL, to an endpoint that has moved."""
    hook = await world.hook("candidate")
    world.receiver.script(hook.path, Script(reply=Reply(500)))
    writer = await world.writer()
    async with Running(world.url, retry_schedule=[0.01, 100, 100]) as daemon:
        await writer.insert("candidate", project_id=1)
        await world.until("select exists (select from cdc.retry where tries = 2)")
        assert daemon.observer.counts.failed == 2
    world.receiver.expect("/moved", hook.secret)
    await world.run("update cdc.webhook set endpoint = %s", world.receiver.url("/moved"))
    await world.run("update cdc.retry set due_at = clock_timestamp()")
    async with Running(world.url, base_url="https://other.example/api/"):
        await world.receiver.wait_for(3)
        await world.settled()
        # What is new goes by the new configuration.
        await writer.insert("candidate", project_id=1)
        await world.receiver.wait_for(4)
    first, second, third, other = world.receiver.received
    assert first.body == second.body == third.body
    assert first.uid == second.uid == third.uid != other.uid
    assert all(got.verified for got in world.receiver.received)
    for got in (first, second, third):
        assert abs(int(got.headers["webhook-timestamp"]) - got.at.timestamp()) < 2
    assert json.loads(third.body)["endpoint"] == world.receiver.url(hook.path)
    assert json.loads(other.body)["endpoint"] == world.receiver.url("/moved")
    assert json.loads(other.body)["data"]["project"].startswith("https://other.example/api/")
    log = "select try, outcome from cdc.attempt where uid = %s order by try"
    assert await world.all(log, first.uid) == [(1, "failed"), (2, "failed"), (3, "delivered")]


async def test_later_changes_wait_behind_and_others_flow(world: World) -> None:
    hook = await world.hook("candidate")
    writer = await world.writer()
    mended = False

    def answer(got: Received) -> int:
        return 204 if mended or '/candidates/1/"' not in got.body.decode() else 500

    world.receiver.script(hook.path, Script(answer=answer))
    async with Running(world.url, retry_schedule=[1000], breaker_failures=1000) as daemon:
        one = await writer.insert("candidate", project_id=1)
        other = await writer.insert("candidate", project_id=1)
        assert one == "1"
        await world.until("select exists (select from cdc.retry where due_at is not null)")
        for _ in range(3):
            await writer.change("candidate", one, other)
        await world.until("select count(*) = 3 from cdc.retry where due_at is null")
        await world.receiver.wait_for(lambda _: len(world.done[hook.path]) == 4)
        assert [got.status for got in world.came[hook.path]].count(500) == 1
        await world.until("select not exists (select from cdc.queue)")
        mended = True
        # What a replay does: due now, and the daemons are notified.
        await world.run("update cdc.retry set due_at = clock_timestamp() where due_at is not null")
        await world.run("update cdc.webhook set description = 'mended'")
        await world.arrived(hook)
        await world.settled()
        assert daemon.observer.counts.swept == 0


async def test_order_holds_while_many_fail(world: World) -> None:
    hooks = [await world.hook("candidate"), await world.hook("candidate")]
    world.receiver.script(hooks[0].path, Script(fail_rate=0.3))
    writer = await world.writer()
    keys = [await writer.insert("candidate", project_id=1) for _ in range(10)]
    async with Running(
        world.url, window=20, retry_schedule=[0.02] * 50, retry_jitter=0.5, breaker_failures=1000
    ) as daemon:
        for _ in range(10):
            await writer.change("candidate", *keys)
        await world.arrived(*hooks, limit=30)
        await world.settled()
        assert daemon.observer.counts.failed > 10
        assert daemon.observer.counts.swept == 0
    assert world.overlaps == 0


async def test_a_delivery_is_dead_when_its_budget_is_used_up(world: World) -> None:
    hook = await world.hook("candidate")
    world.receiver.script(hook.path, Script(reply=Reply(400, b"no, thanks")))
    writer = await world.writer()
    async with Running(world.url, retry_schedule=[0.02] * 3) as daemon:
        key = await writer.insert("candidate", project_id=1)
        await world.until("select exists (select from cdc.dead)")
        [sent] = {(got.uid, got.body) for got in world.came[hook.path]}
        assert await world.all(
            "select uid::text, body, attempts, tries, last_status from cdc.dead"
        ) == [(*sent, 4, 4, 400)]
        assert await world.all("select try, outcome, excerpt from cdc.attempt order by try") == [
            (1, "failed", "no, thanks"),
            (2, "failed", "no, thanks"),
            (3, "failed", "no, thanks"),
            (4, "dead", "no, thanks"),
        ]
        assert daemon.observer.counts.dead == 1
        # The next change of the resource goes its own way.
        world.receiver.script(hook.path, Script())
        await writer.change("candidate", key)
        await world.receiver.wait_for(5)
        await world.settled()


async def test_410_suspends_until_resumed(world: World) -> None:
    hook = await world.hook("candidate")
    world.receiver.script(hook.path, Script(reply=Reply(410)))
    writer = await world.writer()
    async with Running(world.url, retry_schedule=[0.02] * 3) as daemon:
        key = await writer.insert("candidate", project_id=1)
        await world.until("select state = 'suspended' from cdc.webhook")
        assert "410" in await world.one("select reason from cdc.webhook")
        # Held: acknowledged, and collecting.
        await world.until(
            "select l.version = w.version from cdc.lane l join cdc.webhook w on w.id = webhook_id"
        )
        await writer.change("candidate", key)
        proof = await world.hook("project")
        await writer.insert("project", company_id=1)
        await world.arrived(proof)
        assert len(world.came[hook.path]) == 1
        assert await world.one("select attempts from cdc.retry") == 0
        world.receiver.script(hook.path, Script())
        await world.run("update cdc.webhook set state = 'active' where id = %s", hook.id)
        await world.arrived(hook)
        await world.settled()
        assert daemon.log.all("webhook suspended", webhook=hook.id)


async def test_retry_after_is_heeded_and_costs_no_budget(world: World) -> None:
    hook = await world.hook("candidate")
    busy = Reply(503, headers={"Retry-After": "30"})
    world.receiver.script(hook.path, Script(failure=busy, fail_first=1))
    writer = await world.writer()
    async with Running(world.url, retry_schedule=[0.02]):
        await writer.insert("candidate", project_id=1)
        await world.until("select exists (select from cdc.retry)")
        assert await world.all(
            "select attempts, tries, extract(epoch from due_at - moved_at) between 29 and 30.1"
            " from cdc.retry"
        ) == [(0, 1, True)]
        # The whole lane waits.
        await writer.insert("candidate", project_id=1)
        proof = await world.hook("project")
        await writer.insert("project", company_id=1)
        await world.arrived(proof)
        assert len(world.came[hook.path]) == 1


async def test_a_receiver_that_is_busy_for_long_is_named_once_and_when_it_is_well_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 opens no breaker and counts as no failure: the log said nothing of it, for hours."""
    monkeypatch.setattr(consequences, "BUSY_LOGGED_AFTER_S", 0.0)
    hook = await world.hook("candidate")
    world.receiver.script(hook.path, Script(failure=Reply(503), fail_first=2))
    writer = await world.writer()
    async with Running(world.url, retry_schedule=[0.02]) as daemon:
        await writer.insert("candidate", project_id=1)
        await daemon.until("receiver accepts requests again", webhook=hook.id)
        (line,) = daemon.log.all("receiver is busy", webhook=hook.id)
        assert (line.level, line.values["status"]) == ("warning", 503)
        assert f"cdc webhook update {hook.id} --rate N" in line.values["hint"]
        assert not daemon.log.all("deliveries fail")


async def test_the_breaker_opens_probes_and_closes(world: World) -> None:
    hook = await world.hook("candidate", max_concurrency=2)
    world.receiver.script(hook.path, Script(reply=Reply(500)))
    writer = await world.writer()
    async with Running(
        world.url,
        retry_schedule=[0.05] * 3,
        breaker_failures=5,
        breaker_first_probe=0.2,
        breaker_max_probe=0.2,
    ) as daemon:
        async with writer.transaction():
            for _ in range(30):
                await writer.insert("candidate", project_id=1)
        await daemon.until("circuit breaker opened", webhook=hook.id)
        sent = len(world.came[hook.path])
        assert sent <= 6
        await world.until("select breaker <> 'closed' and failures >= 5 from cdc.lane")
        # One at a time from now on; probes use up no budget, so no delivery dies of it.
        await world.receiver.wait_for(lambda _: len(world.came[hook.path]) >= sent + 3)
        world.receiver.script(hook.path, Script())
        await daemon.until("circuit breaker closed", webhook=hook.id)
        await world.arrived(hook)
        await world.settled()
        await world.until("select breaker = 'closed' and failures = 0 from cdc.lane")
        assert await world.one("select count(*) from cdc.dead") == 0


async def test_an_endpoint_that_is_down_holds_up_no_other(world: World, down: str) -> None:
    good, bad = await world.hook(), await world.hook()
    await world.run("update cdc.webhook set endpoint = %s where id = %s", down, bad.id)
    writer = await world.writer()
    keys = [await writer.insert("candidate", project_id=1) for _ in range(10)]
    async with Running(world.url, window=5, total_window=20, retry_schedule=[1000]) as daemon:
        for _ in range(20):
            await writer.change("candidate", *keys)
        await world.arrived(good)
        await daemon.until("circuit breaker opened", webhook=bad.id)
    assert len(world.came[bad.path]) == 0
    kept = await world.one(
        "select (select count(*) from cdc.queue) + (select count(*) from cdc.retry)"
    )
    assert kept == world.expected(bad)


async def test_what_is_parked_without_a_retry_is_retried_at_the_start(world: World) -> None:
    """As after a crash between the end of a retried delivery and the promotion of the next one."""
    hook = await world.hook("candidate")
    writer = await world.writer()
    key = await writer.insert("candidate", project_id=1)
    for _ in range(2):
        await writer.change("candidate", key)
    await world.run(
        "with q as (delete from cdc.queue where id <> (select max(id) from cdc.queue) returning *)"
        " insert into cdc.retry (webhook_id, id, uid, xid, layout, action, time, refs, event, key)"
        " select webhook_id, id, uid, xid, layout, action, time, refs, 'candidate_changed', %s"
        "   from q",
        key,
    )
    async with Running(world.url):
        await world.arrived(hook)
        await world.settled()


async def test_no_busy_loop_behind_a_replay_that_has_to_wait(world: World) -> None:
    """A replayed change is due, but an earlier one of its resource is being retried much later."""
    hook = await world.hook("candidate")
    await _retrying(world, hook, 5, "interval '1 hour'")
    await _retrying(world, hook, 9, "interval '-1 second'")
    async with Running(world.url) as daemon:
        await daemon.until("connected")
        watcher = daemon.app._watcher
        assert watcher is not None
        workers = watcher.dispatcher.workers
        await eventually(lambda: hook.id in workers, "its worker is open")
        lane = workers[hook.id].lane
        await eventually(
            lambda: (lane.due_at() or 0) > time.monotonic() + 3000, "the lane sleeps for an hour"
        )
    assert world.came[hook.path] == []


async def _retrying(world: World, hook: Hook, number: int, due: str) -> None:
    await world.run(
        "insert into cdc.retry (webhook_id, id, uid, xid, layout, action, time, refs, event, key,"
        " body, tries, due_at) select %s, %s, gen_random_uuid(), '1', id, 'm', now(), '{}',"
        f" 'candidate_changed', '1', 'x', 1, clock_timestamp() + {due} from cdc.layout limit 1",
        hook.id,
        number,
    )


async def test_a_retry_in_an_hour_holds_up_nothing_that_may_go_sooner(world: World) -> None:
    """The lane's timer goes by whatever comes first."""
    hook = await world.hook("candidate", rate_limit=5)
    world.receiver.script(hook.path, Script(fail_first=1, per_id=False))
    writer = await world.writer()
    async with writer.transaction():
        for _ in range(8):
            await writer.insert("candidate", project_id=1)
    async with Running(world.url, retry_schedule=[3600]):
        await world.receiver.wait_for(8)
        await world.until("select count(*) = 0 from cdc.queue")
        assert await world.one("select count(*) from cdc.retry") == 1
