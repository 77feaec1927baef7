"""Every answer, and every way of getting none, from the change to the log and to the lane."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import NamedTuple

import pytest

from cdc.sandbox.receiver import Reply, Script
from tests.daemon.running import Running
from tests.daemon.world import Hook, World
from tests.support import hostile
from tests.support.certificates import certificate
from tests.support.hostile import Hostile, keeps_saying


class Ending(NamedTuple):
    """How an attempt is logged. counts: one more failure for the breaker. used: budget used up."""

    status: int | None
    error: str
    counts: bool = True
    used: bool = True


@asynccontextmanager
async def endpoint(kind: str, folder: Path) -> AsyncIterator[str]:
    """A receiver that answers in that way, or does not."""
    async with AsyncExitStack() as stack:
        if kind == "refused":
            port = stack.enter_context(hostile.refusing_port())
            yield f"http://127.0.0.1:{port}/"
        elif kind == "dns":
            yield "http://nowhere.invalid/"
        elif kind == "guard":
            yield "http://10.0.0.1/"
        elif kind == "tls":
            _, context = certificate(folder, "127.0.0.1")  # signed by an unknown authority
            peer = await stack.enter_async_context(Hostile(hostile.hang, tls=context))
            yield peer.url()
        else:
            behaviour = {
                "reset": hostile.resets_after(b""),
                "timeout": hostile.hang,
                "dripping": hostile.drip_body,
                "garbage": hostile.garbage,
            }.get(kind)
            if behaviour is None:
                head = f"HTTP/1.1 {kind} X\r\nContent-Length: 5\r\n\r\nnope\n"
                behaviour = keeps_saying(head.encode())
            peer = await stack.enter_async_context(Hostile(behaviour))
            yield peer.url()


ENDINGS = {
    "refused": Ending(None, "refused"),
    "reset": Ending(None, "reset"),
    "timeout": Ending(None, "timeout"),
    "dripping": Ending(None, "timeout"),
    "tls": Ending(None, "tls"),
    "dns": Ending(None, "dns"),
    "garbage": Ending(None, "protocol"),
    "guard": Ending(None, "guard"),
    "301": Ending(301, "status"),
    "400": Ending(400, "status"),
    "404": Ending(404, "status"),
    "500": Ending(500, "status"),
    "410": Ending(410, "status", counts=False, used=False),
    "429": Ending(429, "status", counts=False, used=False),
    "503": Ending(503, "status", counts=False, used=False),
    "502": Ending(502, "status", counts=False),
    "504": Ending(504, "status", counts=False),
}


async def test_every_attempt_is_logged_with_what_came_of_it(world: World, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        hooks: dict[str, Hook] = {}
        for kind in ENDINGS:
            url = await stack.enter_async_context(endpoint(kind, tmp_path))
            hooks[kind] = hook = await world.hook("candidate")
            await world.run("update cdc.webhook set endpoint = %s where id = %s", url, hook.id)
        daemon = Running(
            world.url, retry_schedule=[1000], attempt_timeout=1, connect_timeout=0.8, attempts=True
        )
        async with daemon:
            await (await world.writer()).insert("candidate", project_id=1)
            await world.until("select count(*) = %s from cdc.attempt", len(ENDINGS))
            await world.until("select count(*) = %s from cdc.retry", len(ENDINGS))
            found = await world.all(
                "select webhook_id, outcome, try, status, error, duration_ms > 0, detail <> '',"
                " excerpt from cdc.attempt"
            )
            assert len(found) == len(ENDINGS)
            logged = {row[0]: row[1:] for row in found}
            used = dict(await world.all("select webhook_id, attempts from cdc.retry"))
            watcher = daemon.app._watcher
            assert watcher is not None
            for kind, ending in ENDINGS.items():
                hook = hooks[kind]
                excerpt = "nope" if ending.status is not None else ""
                assert logged[hook.id] == (
                    *("failed", 1, ending.status, ending.error),
                    *(True, True, excerpt),
                ), kind
                assert used[hook.id] == ending.used, kind
                worker = watcher.dispatcher.workers[hook.id]
                assert worker.lane.failures == ending.counts, kind
            # Each of them was logged.
            attempted = {line.values["webhook"]: line for line in daemon.log.all("attempt")}
            assert attempted.keys() == {hook.id for hook in hooks.values()}
        # Only the one that is gone is suspended.
        suspended = await world.all("select id from cdc.webhook where state = 'suspended'")
        assert suspended == [(hooks["410"].id,)]


async def test_a_receiver_says_what_becomes_of_a_delivery(world: World) -> None:
    """By its header: one is given up at once, or the webhook is suspended."""
    aborts, disables, other = [await world.hook("candidate") for _ in range(3)]
    writer = await world.writer()
    for hook, wish in ((aborts, "Abort-Message"), (disables, "disable"), (other, "please")):
        refusal = Reply(400, headers={"Webhook-Delivery": wish})
        world.receiver.script(hook.path, Script(reply=refusal))
    async with Running(world.url, retry_schedule=[1000]) as daemon:
        key = await writer.insert("candidate", project_id=1)
        await world.until("select exists (select from cdc.dead where webhook_id = %s)", aborts.id)
        await world.until("select state = 'suspended' from cdc.webhook where id = %s", disables.id)
        await world.until("select attempts = 1 from cdc.retry where webhook_id = %s", other.id)
        assert await world.all("select webhook_id, attempts, last_error from cdc.dead") == [
            (aborts.id, 1, "status")
        ]
        detail = "select detail from cdc.attempt where webhook_id = %s"
        asked = "answered 400 Bad Request, webhook-delivery: "
        assert await world.one(detail, aborts.id) == f"{asked}abort-message"
        assert await world.one("select reason from cdc.webhook where id = %s", disables.id) == (
            f"the receiver {asked}disable"
        )
        assert await world.one(detail, other.id) == "answered 400 Bad Request"
        assert not daemon.log.all("suspended", webhook=aborts.id)
        # The next change of the row is sent at once, with the same webhook.
        world.receiver.script(aborts.path, Script())
        await writer.change("candidate", key)
        await world.until(
            "select count(*) = 1 from cdc.attempt where webhook_id = %s and outcome = 'delivered'",
            aborts.id,
        )


@pytest.mark.parametrize("status", [429, 503])
async def test_a_date_to_retry_after_is_heeded_up_to_the_cap(world: World, status: int) -> None:
    hook = await world.hook("candidate")
    when = format_datetime(datetime.now(UTC) + timedelta(days=1), usegmt=True)
    world.receiver.script(
        hook.path, Script(failure=Reply(status, b"", {"Retry-After": when}), fail_first=1)
    )
    async with Running(world.url, retry_after_cap=1.5):
        await (await world.writer()).insert("candidate", project_id=1)
        await world.arrived(hook)
        await world.settled()
    first, second = world.came[hook.path]
    assert second.clock - first.clock >= 1.5


async def test_failing_for_days_suspends_and_what_came_meanwhile_is_sent_in_order(
    world: World,
) -> None:
    hook = await world.hook("candidate")
    world.receiver.script(hook.path, Script(reply=Reply(500)))
    writer = await world.writer()
    second = 1 / 86_400
    async with Running(
        world.url, suspend_after_days=second, breaker_failures=2, breaker_first_probe=0.1
    ) as daemon:
        key = await writer.insert("candidate", project_id=1)
        other = await writer.insert("candidate", project_id=1)
        await world.until("select state = 'suspended' from cdc.webhook")
        assert "without one success" in await world.one("select reason from cdc.webhook")
        began, *_, ended = [got.clock for got in world.came[hook.path]]
        assert ended - began >= 0.9, "it was given its time"
        assert daemon.log.all("webhook suspended", webhook=hook.id)
        [noted] = await world.all("select actor, action, webhook_id, before, after from cdc.audit")
        assert noted[:3] == ("daemon", "webhook.suspend", hook.id)
        assert (noted[3]["state"], noted[4]["state"]) == ("active", "suspended")
        assert "without one success" in noted[4]["reason"]
        await writer.change("candidate", key, other)
        await writer.change("candidate", key, other)
        world.receiver.script(hook.path, Script())
        await world.run("update cdc.webhook set state = 'active' where id = %s", hook.id)
        await world.run("update cdc.retry set due_at = clock_timestamp() where due_at is not null")
        await world.arrived(hook)
        await world.settled()


async def test_the_days_of_failing_outlive_the_daemon(world: World) -> None:
    """Its successor suspends at its first failure when they were over meanwhile."""
    hook = await world.hook("candidate")
    world.receiver.script(hook.path, Script(reply=Reply(500)))
    await world.run(
        "insert into cdc.lane (webhook_id, breaker, failures, failing_since, version)"
        " values (%s, 'open', 40, clock_timestamp() - interval '5 days 1 minute', 1)",
        hook.id,
    )
    async with Running(world.url):
        await (await world.writer()).insert("candidate", project_id=1)
        await world.until("select state = 'suspended' from cdc.webhook")
    assert len(world.came[hook.path]) == 1
