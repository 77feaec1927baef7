"""The way out through a proxy."""

from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path

import pytest

from cdc.deliver import Client, Guard
from cdc.deliver.proxy import Proxy
from cdc.deliver.trust import Files, Trust
from cdc.deliver.url import parse
from cdc.model import Answer, Outcome
from cdc.settings import Settings
from tests.deliver.kit import CLOSED, DEADLINE, LOOPBACK, assert_failed, request_to, settled
from tests.deliver.tunnel import Tunnels
from tests.support import hostile
from tests.support.certificates import Authority
from tests.support.hostile import OK, Hostile, keeps_saying

PUBLIC = "93.184.216.34"
PUBLIC_V6 = "2606:2800:220:1::1"


@asynccontextmanager
async def through(
    proxy: Tunnels | str,
    found: Sequence[str] = (PUBLIC,),
    *,
    guard: Guard = CLOSED,
    resolves: bool = False,
    deadline: float = 5,
    ca: Path | None = None,
) -> AsyncIterator[Client]:
    """A client that goes through the proxy, and for whom every name resolves to `found`."""

    async def look(name: str, port: int) -> list[str]:
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return list(found)

    url = proxy if isinstance(proxy, str) else proxy.url
    client = Client(
        guard,
        deadline=deadline,
        connect_timeout=deadline,
        trust=Trust(Files(ca)),
        look=look,
        proxy=Proxy(url, resolves=resolves),
    )
    yield client
    await client.close()


# -- what goes through ----------------------------------------------------------------------------


async def test_http_endpoints_are_called_by_a_tunnel_to_the_address_that_was_judged() -> None:
    async with (
        Hostile(keeps_saying(OK)) as peer,
        Tunnels(peer.port) as proxy,
        through(proxy) as client,
    ):
        for _ in range(2):
            outcome = await client.post(request_to("http://hooks.example/path?q=1"))
            assert outcome.answer is Answer.SUCCESS
        assert proxy.asked == [f"{PUBLIC}:80"]  # once: the tunnel is kept
        assert peer.requests[0].startswith(b"POST /path?q=1 HTTP/1.1\r\nHost: hooks.example\r\n")
        assert b"proxy" not in peer.requests[0].lower()
        assert b"webhook" not in proxy.heads[0].lower()


async def test_tls_is_with_the_receiver_by_its_name(tmp_path: Path) -> None:
    ca = Authority(tmp_path, "ours")
    async with (
        Hostile(keeps_saying(OK), tls=ca.server("hooks.example")) as peer,
        Tunnels(peer.port) as proxy,
        through(proxy, ca=ca.file) as client,
    ):
        for _ in range(2):
            outcome = await client.post(request_to("https://hooks.example:8443/"))
            assert outcome.answer is Answer.SUCCESS
        assert_failed(await client.post(request_to("https://other.example/")), "tls")
        assert proxy.asked == [f"{PUBLIC}:8443", f"{PUBLIC}:443"]


async def test_a_proxy_that_answers_for_the_receiver_is_not_believed() -> None:
    """No certificate, no delivery: the proxy cannot stand in the middle of https."""

    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(OK)

    async with (
        Hostile(answers) as peer,
        Tunnels(peer.port) as proxy,
        through(proxy) as client,
    ):
        assert_failed(await client.post(request_to("https://hooks.example/")), "tls")


async def test_user_and_password_go_to_the_proxy_and_nowhere_else() -> None:
    async with Hostile(keeps_saying(OK)) as peer, Tunnels(peer.port) as proxy:
        url = proxy.url.replace("://", "://me:hush%40hush@")
        async with through(url) as client:
            outcome = await client.post(request_to("http://hooks.example/"))
            assert outcome.answer is Answer.SUCCESS
    token = base64.b64encode(b"me:hush@hush")
    assert b"\r\nProxy-Authorization: Basic " + token + b"\r\n" in proxy.heads[0]
    assert token not in peer.requests[0]


# -- the guard ------------------------------------------------------------------------------------


@pytest.mark.parametrize("resolves", [False, True])
@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "169.254.169.254", "localhost", "10.0.0.1"])
async def test_addresses_inside_are_refused_before_the_proxy_is_asked(
    host: str, resolves: bool
) -> None:
    async with Tunnels() as proxy, through(proxy, ["127.0.0.1"], resolves=resolves) as client:
        outcome = await client.post(request_to(f"http://{host}/"))
        assert not proxy.asked
    assert_failed(outcome, "guard")


async def test_names_that_resolve_to_the_inside_are_refused() -> None:
    async with Tunnels() as proxy:
        for found in ("127.0.0.1", "::ffff:10.0.0.1", "169.254.169.254"):
            async with through(proxy, [found]) as client:
                assert_failed(await client.post(request_to("http://rebound.example/")), "guard")
        assert not proxy.asked


async def test_of_a_mix_only_what_is_allowed_is_asked_for() -> None:
    async with (
        Hostile(keeps_saying(OK)) as peer,
        Tunnels(peer.port) as proxy,
        through(proxy, ["10.0.0.1", PUBLIC]) as client,
    ):
        assert (await client.post(request_to("http://mixed.example/"))).status == 200
        assert proxy.asked == [f"{PUBLIC}:80"]


async def test_where_the_proxy_resolves_it_gets_the_name() -> None:
    """And here nothing is looked up: in such networks it often cannot be."""
    async with (
        Hostile(keeps_saying(OK)) as peer,
        Tunnels(peer.port) as proxy,
        through(proxy, [], resolves=True) as client,
    ):
        assert (await client.post(request_to("http://hooks.example/"))).status == 200
        assert proxy.asked == ["hooks.example:80"]


async def test_the_proxy_itself_is_no_endpoint() -> None:
    """The operator named it; who registers an endpoint gains nothing by that."""
    async with Tunnels() as proxy, through(proxy) as client:
        outcome = await client.post(request_to(f"http://127.0.0.1:{proxy.port}/"))
        assert not proxy.asked
    assert_failed(outcome, "guard")


# -- several addresses ----------------------------------------------------------------------------


async def test_the_next_address_is_asked_for_when_one_is_out_of_the_proxys_reach() -> None:
    second = "93.184.216.35"
    async with (
        Hostile(keeps_saying(OK)) as peer,
        Tunnels(peer.port, refuses=(f"{PUBLIC}:80",)) as proxy,
        through(proxy, [PUBLIC_V6, PUBLIC, second]) as client,
    ):
        assert (await client.post(request_to("http://hooks.example/"))).status == 200
        assert proxy.asked == [f"{PUBLIC}:80", f"{second}:80"]
        await settled(client, 1)


async def test_ipv6_is_asked_for_where_there_is_nothing_else() -> None:
    async with (
        Hostile(keeps_saying(OK)) as peer,
        Tunnels(peer.port) as proxy,
        through(proxy, [PUBLIC_V6]) as client,
    ):
        assert (await client.post(request_to("http://hooks.example/"))).status == 200
        assert proxy.asked == [f"[{PUBLIC_V6}]:80"]


# -- its failures are its own ---------------------------------------------------------------------


async def refused_by(
    answer: bytes | None, deadline: float = 5, url: str = "http://hooks.example/tok3n"
) -> tuple[Outcome, Tunnels]:
    async with Tunnels(answer=answer) as proxy:
        login = proxy.url.replace("://", "://me:hush-hush@")
        async with through(login, deadline=deadline) as client:
            outcome = await client.post(request_to(url))
            await settled(client, 0)
    assert_failed(outcome, "proxy")
    for secret in ("hush", "tok3n", base64.b64encode(b"me:hush-hush").decode()):
        assert secret not in outcome.detail
    assert f"the proxy 127.0.0.1:{proxy.port} " in outcome.detail
    return outcome, proxy


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("status", [407, 410, 429, 502, 503, 301, 100, 999])
async def test_what_the_proxy_answers_is_not_the_receivers_answer(status: int, scheme: str) -> None:
    """A 410 of its does not suspend, a 429 does not slow down, a redirect leads nowhere."""
    answer = f"HTTP/1.1 {status} X\r\nLocation: http://127.0.0.1/\r\nRetry-After: 9\r\n\r\n"
    outcome, _ = await refused_by(answer.encode(), url=f"{scheme}://hooks.example/tok3n")
    assert f"answered {status}" in outcome.detail
    assert outcome.retry_after is None


@pytest.mark.parametrize("status", [407, 401])
async def test_a_missing_login_is_not_tried_for_every_address(status: int) -> None:
    async with (
        Tunnels(answer=f"HTTP/1.1 {status} X\r\n\r\n".encode()) as proxy,
        through(proxy, [PUBLIC, "93.184.216.35"]) as client,
    ):
        assert_failed(await client.post(request_to("http://hooks.example/")), "proxy")
        assert len(proxy.asked) == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-A: 1\r\n" * 2000,
        b"\x16\x03\x01\x00\x02\x02\x28\r\n\r\n",
    ],
)
async def test_a_proxy_that_is_none(answer: bytes) -> None:
    await refused_by(answer)


async def test_a_proxy_that_hangs() -> None:
    outcome, _ = await refused_by(None, deadline=DEADLINE)
    assert "in time" in outcome.detail
    assert outcome.duration < DEADLINE + 1


async def test_a_proxy_that_is_not_there() -> None:
    async with Tunnels() as proxy:
        gone = proxy.url
    async with through(gone) as client:
        outcome = await client.post(request_to("https://hooks.example/"))
        await settled(client, 0)
    assert_failed(outcome, "proxy")
    assert "cannot be reached" in outcome.detail


async def test_a_proxy_whose_name_does_not_resolve() -> None:
    async with through("http://proxy.example:3128", [], resolves=True) as client:
        outcome = await client.post(request_to("https://hooks.example/"))
    assert_failed(outcome, "proxy")
    assert "the proxy proxy.example:3128 cannot be reached" in outcome.detail


async def test_what_goes_wrong_behind_the_tunnel_is_the_receivers() -> None:
    async with Tunnels(to=9) as proxy, through(proxy) as client:
        outcome = await client.post(request_to("http://hooks.example/"))
    assert outcome.error in ("reset", "refused")
    async with (
        Hostile(hostile.hang) as peer,
        Tunnels(peer.port) as proxy,
        through(proxy, deadline=DEADLINE) as client,
    ):
        outcome = await client.post(request_to("http://hooks.example/"))
    assert_failed(outcome, "timeout")


async def test_allowed_networks_are_reached_through_the_proxy_too() -> None:
    async with (
        Hostile(keeps_saying(OK)) as peer,
        Tunnels(peer.port) as proxy,
        through(proxy, guard=LOOPBACK) as client,
    ):
        assert (await client.post(request_to("http://127.0.0.1:1/"))).status == 200
        assert proxy.asked == ["127.0.0.1:1"]


# -- what does not go through ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "direct", "through"),
    [
        ("in.example", ["in.example", "a.in.example"], ["xin.example", "example"]),
        ("IN.example.", ["in.example"], ["out.example"]),
        (".in.example", ["a.in.example"], ["in.example", "xin.example"]),
        ("*.in.example", ["a.in.example"], ["in.example"]),
        ("in.example:8443", ["in.example:8443"], ["in.example:80"]),
        ("10.0.0.0/8", ["10.1.2.3"], ["11.1.2.3", "in.example"]),
        ("10.1.2.3:80", ["10.1.2.3:80"], ["10.1.2.3:81"]),
        ("fd00::/8", ["[fd00::1]"], ["[fe00::1]"]),
        ("[fd00::1]:81", ["[fd00::1]:81"], ["[fd00::1]:80"]),
        ("*", ["in.example", "10.1.2.3", "[fd00::1]"], []),
    ],
)
def test_hosts_that_need_no_proxy(entry: str, direct: list[str], through: list[str]) -> None:
    settings = Settings(no_proxy=f" {entry} ,never.example")
    proxy = Proxy("http://proxy:3128", exempt=settings.no_proxy)
    for places, expected in ((direct, True), (through, False)):
        for place in places:
            target = parse(f"http://{place}/")
            assert proxy.exempts(target.host, target.port) is expected, place


@pytest.mark.parametrize("entry", ["10.0.0.1/8", "a b", "http://a", "a:0", "a:99999", "a/8", ""])
def test_what_is_no_host(entry: str) -> None:
    with pytest.raises(ValueError, match=r"(?s)no_proxy") if entry else nullcontext():
        Settings(no_proxy=[entry] if entry else entry)


async def test_a_host_that_needs_no_proxy_is_called_directly() -> None:
    async with Hostile(keeps_saying(OK)) as peer, Tunnels(peer.port) as proxy:
        client = Client(LOOPBACK, deadline=5, proxy=Proxy(proxy.url, exempt=["127.0.0.0/8"]))
        assert (await client.post(request_to(peer.url()))).answer is Answer.SUCCESS
        await client.close()
        assert (proxy.asked, len(peer.requests)) == ([], 1)


async def test_a_proxy_that_offers_other_logins_than_ours() -> None:
    async with Tunnels() as proxy, through(proxy) as client:
        for offered, expected in {
            b"Proxy-Authenticate: NTLM\r\nProxy-Authenticate: Negotiate\r\n": "NTLM or Negotiate",
            b"Proxy-Authenticate: NTLM\r\nProxy-Authenticate: Basic realm=x\r\n": "no user",
            b'Proxy-Authenticate: Negotiate, NTLM, Basic realm="x"\r\n': "no user",
            b'Proxy-Authenticate: Digest realm="Basic", nonce="1"\r\n': "by Digest only",
        }.items():
            proxy.answer = b"HTTP/1.1 407 P\r\n" + offered + b"\r\n"
            outcome = await client.post(request_to("http://hooks.example/"))
            assert expected in outcome.detail
            assert_failed(outcome, "proxy")
