"""What a daemon finds when it takes shards over, and what it leaves when it hands them over."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from cdc.daemon.lease import Snapshot
from cdc.daemon.store.fetch import FetchedWindow, Fetcher
from cdc.daemon.store.look import TAKE_OVER_STEP_S, TakeOver
from cdc.daemon.store.ownership import OWNER_NAME
from cdc.lanes import FetchPlan
from cdc.model import shard_of
from cdc.postgres.advisory_locks import LOCK_CLASS
from cdc.sandbox.receiver import Received, Reply, Script
from tests.daemon.running import Running, eventually
from tests.daemon.world import Hook, World

# What a daemon leaves that was killed between the record of a delivery and the promotion of those
# that waited behind it (or that an earlier release left): all of the queue is parked.
PARK = """
with taken as (delete from cdc.queue returning *)
insert into cdc.retry (webhook_id, id, uid, xid, layout, action, "time", refs, event, key)
select webhook_id, id, uid, xid, layout, action, "time", refs, 'candidate_changed',
       refs[cardinality(refs)]
  from taken
"""


PROBES: dict[str, Any] = {
    "breaker_first_probe": 1000,
    "breaker_max_probe": 1000,
}  # none comes within the test


async def looked(daemon: Running, times: int = 3) -> None:
    """Waits until the daemon has looked so often from now on."""
    until = daemon.observer.counts.looks + times
    await eventually(lambda: daemon.observer.counts.looks >= until, "it goes on looking")


# -- the retry table ------------------------------------------------------------------------------


async def test_what_is_parked_behind_no_retry_is_sent_in_order_after_a_take_over(
    world: World,
) -> None:
    hook = await world.hook("candidate")
    writer = await world.writer()
    keys = [await writer.insert("candidate", project_id=1) for _ in range(3)]
    for _ in range(5):
        await writer.change("candidate", *keys)
    await world.run(PARK)
    async with Running(world.url) as daemon:
        await world.arrived(hook)
        await world.settled()
        assert daemon.observer.counts.swept == 0, "it does not wait for the sweep"
    assert world.repeats(hook) == 0


async def test_created_is_sent_first_of_what_one_transaction_left_parked(world: World) -> None:
    """A suite's own row trigger that updates what was just inserted gives "modified" the lower id.
    The next transaction's rows come after both, whatever their ids."""
    hook = await world.hook("candidate")
    writer = await world.writer()
    async with writer.transaction():
        key = await writer.insert("candidate", project_id=1)
        await writer.change("candidate", key)
    await writer.change("candidate", key)
    await world.run(PARK)
    await world.run("update cdc.retry set id = id + 1000 where action = 'c'")
    async with Running(world.url):
        await world.arrived(hook)
        await world.settled()
    assert [got.body.count(b'"created"') for got in world.came[hook.path]] == [1, 0, 0]


async def test_a_retry_keeps_its_time_and_what_is_parked_its_place(world: World) -> None:
    """A take-over is no reason to send early, nor does a change that comes then overtake."""
    hook = await world.hook("candidate")
    writer = await world.writer()
    keys = [await writer.insert("candidate", project_id=1) for _ in range(2)]
    for _ in range(2):
        await writer.change("candidate", *keys)
    await world.run(PARK)
    await world.run(
        "update cdc.retry set due_at = clock_timestamp() + interval '1 hour'"
        " where action = 'c' and key = %s",
        keys[0],
    )
    before = await world.all("select id, due_at from cdc.retry where key = %s order by id", keys[0])
    async with Running(world.url):
        await world.until("select count(*) = 0 from cdc.retry where key = %s", keys[1])
        await writer.change("candidate", *keys)
        await world.until("select count(*) = 0 from cdc.queue")
        assert len(world.came[hook.path]) == 4, "the other candidate's"
        after = await world.all("select id, due_at from cdc.retry where key = %s", keys[0])
        assert sorted(after)[:3] == before
        assert [due for _, due in sorted(after)[3:]] == [None]


# -- what the owner before kept -------------------------------------------------------------------


async def kept(world: World, hook: Hook, *, failures: int, failing_days: float) -> None:
    await world.run(
        "insert into cdc.lane (webhook_id, failures, failing_since, version)"
        " values (%s, %s, clock_timestamp() - %s * interval '1 day', 1)",
        hook.id,
        failures,
        failing_days,
    )


async def test_failures_are_counted_across_owners(world: World) -> None:
    hook = await world.hook("candidate")
    await kept(world, hook, failures=4, failing_days=1)
    world.receiver.script(hook.path, Script(reply=Reply(500)))
    writer = await world.writer()
    async with Running(world.url, breaker_failures=5, **PROBES) as daemon:
        await writer.insert("candidate", project_id=1)
        opened = await daemon.until("circuit breaker opened")
        assert opened.values["reason"].startswith("5 failures in a row")


async def test_an_open_breaker_stays_open_for_the_next_owner(world: World) -> None:
    """It sends one probe, not all that it may send at once."""
    hook = await world.hook("candidate")
    await kept(world, hook, failures=5, failing_days=1)
    world.receiver.script(hook.path, Script(reply=Reply(500)))
    writer = await world.writer()
    for _ in range(10):
        await writer.insert("candidate", project_id=1)
    async with Running(world.url, breaker_failures=5, **PROBES) as daemon:
        await world.until("select count(*) = 1 from cdc.retry")
        await looked(daemon)
        assert len(world.came[hook.path]) == 1


async def test_a_resume_begins_the_days_of_failing_again(world: World) -> None:
    """Where no daemon has kept the lane since, the next owner does not suspend it at once."""
    resumed, other = await world.hook("candidate"), await world.hook("candidate")
    for each in (resumed, other):
        await kept(world, each, failures=1, failing_days=6)
        world.receiver.script(each.path, Script(reply=Reply(500)))
    await world.run("update cdc.webhook set reason = '' where id = %s", resumed.id)
    await (await world.writer()).insert("candidate", project_id=1)
    async with Running(world.url) as daemon:
        await daemon.until("webhook suspended", webhook=other.id)
        await world.until("select tries > 0 from cdc.retry where webhook_id = %s", resumed.id)
    assert daemon.log.all("webhook suspended", webhook=resumed.id) == []


@pytest.mark.parametrize("running", [True, False], ids=["while it runs", "before it runs"])
async def test_the_next_owner_sees_a_resume(world: World, *, running: bool) -> None:
    """What is kept of the lane begins again, too, and counts from there."""
    hook = await world.hook("candidate")
    await kept(world, hook, failures=9, failing_days=4)
    world.receiver.script(hook.path, Script(reply=Reply(500)))
    await (await world.writer()).insert("candidate", project_id=1)
    resume = "update cdc.webhook set reason = ''"
    if not running:
        await world.run(resume)
    async with Running(world.url):
        await world.until("select tries > 0 from cdc.retry")
        if running:
            assert await world.one("select failing_since < now() - interval '3 d' from cdc.lane")
            await world.run(resume)
        await world.until(
            "select version = 2 and failures >= 9"
            " and coalesce(failing_since > now() - interval '1 hour', true) from cdc.lane"
        )


async def test_the_days_of_failing_are_counted_across_owners(world: World) -> None:
    hook, other = await world.hook("candidate"), await world.hook("candidate")
    await kept(world, hook, failures=1, failing_days=6)
    await kept(world, other, failures=1, failing_days=4)
    for each in (hook, other):
        world.receiver.script(each.path, Script(reply=Reply(500)))
    writer = await world.writer()
    async with Running(world.url, suspend_after_days=5):
        await writer.insert("candidate", project_id=1)
        await world.until("select state = 'suspended' from cdc.webhook where id = %s", hook.id)
        await world.until("select count(*) = 2 from cdc.retry")
        assert await world.one("select state from cdc.webhook where id = %s", other.id) == "active"


# -- two daemons at once --------------------------------------------------------------------------


async def test_each_of_two_daemons_sends_only_what_is_its_own(world: World) -> None:
    """Both see all rows and all changed registrations; what belongs to a shard of the other is not
    their business, neither a retry that is in flight there nor a bulk of new rows."""
    hooks = [await world.hook("candidate") for _ in range(8)]
    may_answer = asyncio.Event()
    tries: Counter[tuple[str, str]] = Counter()

    async def answer(got: Received) -> int:
        tries[got.path, got.uid] += 1
        if tries[got.path, got.uid] == 1:
            return 500
        await may_answer.wait()
        return 204

    for hook in hooks:
        world.receiver.script(hook.path, Script(answer=answer))
    writer = await world.writer()
    async with Running(world.url) as first, Running(world.url) as second:
        both = (first, second)
        await eventually(lambda: [d.owned for d in both] == [32, 32], "the shards are shared")
        owners = {d: d.app._lease.epochs.keys() for d in both}
        assert all(any(shard_of(h.id) in owned for h in hooks) for owned in owners.values())
        await writer.insert("candidate", project_id=1)
        await eventually(lambda: list(tries.values()) == [1] * 8, "all have failed once")
        await world.until("select count(*) = 8 from cdc.retry")
        await world.run("update cdc.retry set due_at = clock_timestamp()")
        await world.run("update cdc.webhook set description = 'touched'")
        await eventually(lambda: list(tries.values()) == [2] * 8, "all are tried again")
        await world.run("update cdc.webhook set description = 'touched again'")
        await asyncio.gather(*map(looked, both))
        # A daemon loads what was touched before it fetches what came later.
        for hook in hooks:
            world.receiver.script(hook.path, Script())
        await world.run("insert into candidate (project_id) select 1 from generate_series(1, 300)")
        await world.until("select not exists (select from cdc.queue)")
        may_answer.set()
        await world.settled()
        assert set(tries.values()) == {2}
        for hook in hooks:
            assert Counter(Counter(got.uid for got in world.came[hook.path]).values()) == {
                1: 300,
                2: 1,
            }
        assert first.observer.counts.swept + second.observer.counts.swept == 0


async def test_every_take_over_raises_the_epoch_and_says_who(world: World) -> None:
    for epoch in (1, 2):
        async with Running(world.url) as daemon:
            await eventually(lambda: daemon.owned == 64, "all are taken over")
            assert await world.all(
                "select epoch, owner, since > clock_timestamp() - interval '1 min', count(*)"
                " from cdc.shard group by 1, 2, 3"
            ) == [(epoch, OWNER_NAME, True, 64)]


async def test_a_shard_whose_last_owner_still_records_is_left_for_later(world: World) -> None:
    """It is not held in the meantime either: another daemon may get it as well."""
    hook = await world.hook("candidate")
    other = await world.connect()
    writer = await world.writer()
    await writer.insert("candidate", project_id=1)
    async with other.transaction():
        await other.execute(b"select from cdc.shard where id = %s for share", [shard_of(hook.id)])
        async with Running(world.url) as daemon:
            await eventually(lambda: daemon.owned == 63, "all others are taken over")
            await looked(daemon)
            assert daemon.owned == 63
            await world.until("select pg_try_advisory_lock(%s, %s)", LOCK_CLASS, shard_of(hook.id))
            await world.run("select pg_advisory_unlock_all()")
            assert not world.came[hook.path]
            await other.execute(b"commit")
            await world.arrived(hook)
            await eventually(lambda: daemon.owned == 64, "it is taken over")


async def test_a_lane_that_is_handed_over_gives_its_places_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All lanes of a daemon share its places. Those of the lanes that it hands over are for the
    lanes that stay: a fetch may bring as many rows as before."""
    hooks = [await world.hook("candidate", max_concurrency=1) for _ in range(8)]
    may_answer = asyncio.Event()

    async def slowly(_: Received) -> int:
        await may_answer.wait()
        return 204

    for hook in hooks:
        world.receiver.script(hook.path, Script(answer=slowly))
    asked: dict[Fetcher, list[int]] = {}
    fetch = Fetcher.fetch

    async def counted(
        self: Fetcher, plans: Mapping[int, FetchPlan], snapshot: Snapshot
    ) -> dict[int, FetchedWindow]:
        asked.setdefault(self, []).append(max(plan.limit for plan in plans.values()))
        return await fetch(self, plans, snapshot)

    monkeypatch.setattr(Fetcher, "fetch", counted)
    monkeypatch.setattr("cdc.daemon.watcher.HAND_OVER_GRACE_S", 0.1)
    await world.run("insert into candidate (project_id) select 1 from generate_series(1, 300)")
    limits: dict[str, Any] = {"window": 1_000, "total_window": 1_600, "max_concurrency": 1}
    async with Running(world.url, **limits) as first:
        await eventually(lambda: first.in_flight == 8, "all lanes are filled")
        [fetcher] = asked
        async with Running(world.url, **limits) as second:
            await eventually(lambda: (first.owned, second.owned) == (32, 32), "half is given")
        asked.clear()
        await eventually(lambda: first.owned == 64, "it is given back")
        await eventually(lambda: first.in_flight == 8, "all lanes are filled again")
        assert max(asked[fetcher]) >= 100
        may_answer.set()
        await world.until("select not exists (select from cdc.queue)")


def test_a_take_over_asks_for_as_many_as_are_quick() -> None:
    """At most twice as many as before, however quick it was."""
    arrival = TakeOver([1])
    sizes = []
    for took in (0.0, TAKE_OVER_STEP_S, TAKE_OVER_STEP_S * 4, 1000.0, 0.0):
        arrival.took(took)
        sizes.append(arrival.size)
    assert sizes == [1000, 1000, 250, 1, 2]
    for _ in range(20):
        arrival.took(0.0)
    assert arrival.size == 5_000
