"""A daemon that sends through a proxy."""

from __future__ import annotations

import pytest

from tests.daemon.running import Running
from tests.daemon.world import World
from tests.deliver.tunnel import Tunnels
from tests.support.forward import Forward, Squid, Tinyproxy

PASSWORD = "marked-proxy-password"


async def test_sends_through_it_and_what_it_answers_is_not_the_receivers(world: World) -> None:
    """A proxy's 410 suspends no webhook; what it refused is sent once it lets it through."""
    hook = await world.hook("project")
    port = int(world.receiver.url("/").split(":")[2].split("/")[0])
    writer = await world.writer()
    gone = b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n"
    async with Tunnels(port, answer=gone) as proxy:
        url = proxy.url.replace("://", f"://me:{PASSWORD}@")
        values = {"proxy": url, "retry_schedule": [0.05] * 50, "breaker_first_probe": 0.05}
        async with Running(world.url, attempts=True, **values) as daemon:
            await writer.change("project", 1)
            await daemon.until("attempt", error="proxy")
            state = await world.one("select state from cdc.webhook where id = %s", hook.id)
            assert state == "active"
            assert not world.receiver.received
            proxy.answer = b"HTTP/1.1 200 OK\r\n\r\n"
            await world.arrived(hook)
        assert PASSWORD not in str(daemon.log.lines)
    world.check(hook)
    kept = await world.all("select error, detail from cdc.attempt where outcome <> 'delivered'")
    assert kept
    assert all(error == "proxy" for error, _ in kept)
    assert PASSWORD not in str(kept)


@pytest.mark.parametrize("kind", [Squid, Tinyproxy])
async def test_the_log_names_what_a_foreign_proxy_refused(
    world: World, kind: type[Forward]
) -> None:
    """Wrong login, forbidden port: the proxy's refusals, each named."""
    if kind.PROGRAM is None:
        pytest.skip(kind.MISSING)
    hook = await world.hook("project")
    port = int(world.receiver.url("/").split(":")[2].split("/")[0])
    writer = await world.writer()
    values = {"retry_schedule": [0.05] * 50, "breaker_first_probe": 0.05}
    wrong = "wr0ng-marked"
    said: list[str] = []
    with kind([port]) as proxy, kind([1]) as closed:
        await writer.change("project", 1)
        for url in (proxy.url(wrong), closed.url()):
            async with Running(world.url, attempts=True, proxy=url, **values) as daemon:
                await daemon.until("attempt", error="proxy")
            said.append(str(daemon.log.lines))
        assert not world.receiver.received
        async with Running(world.url, attempts=True, proxy=proxy.url(), **values) as daemon:
            await world.arrived(hook)
        said.append(str(daemon.log.lines))
    world.check(hook)
    assert (await world.one("select state from cdc.webhook where id = %s", hook.id)) == "active"
    kept = await world.all(
        "select status, error, detail, excerpt from cdc.attempt where outcome <> 'delivered'"
    )
    details = {detail.partition("it answered ")[2] for _, _, detail, _ in kept}
    assert {detail[:3] for detail in details} == {str(kind.NOT_LET_IN), "403"}
    assert {(status, error, excerpt or "") for status, error, _, excerpt in kept} == {
        (None, "proxy", "")
    }
    for secret in (kind.PASSWORD, wrong):
        assert secret not in str(kept) + "".join(said)
