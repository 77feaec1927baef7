"""The way out through proxies that others wrote."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cdc.deliver import Client
from cdc.deliver.proxy import Proxy
from cdc.deliver.trust import Files, Trust
from cdc.model import Answer, Outcome
from tests.deliver.kit import LOOPBACK, assert_failed, request_to, settled
from tests.support.certificates import Authority
from tests.support.forward import Forward, Squid, Tinyproxy
from tests.support.hostile import OK, Hostile, keeps_saying, refusing_port

Kind = type[Forward]


@pytest.fixture(params=[Squid, Tinyproxy])
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    if found.PROGRAM is None:
        pytest.skip(found.MISSING)
    return found


@asynccontextmanager
async def through(
    url: str, *, resolves: bool = False, ca: Path | None = None, found: tuple[str, ...] = ()
) -> AsyncIterator[Client]:
    """A client that goes through the proxy. found: what names resolve to, here."""

    async def look(name: str, port: int) -> list[str]:
        return list(found)

    client = Client(
        LOOPBACK,
        deadline=30,
        connect_timeout=30,
        trust=Trust(Files(ca)),
        look=look,
        proxy=Proxy(url, resolves=resolves),
    )
    yield client
    await client.close()


async def test_https_is_verified_and_the_tunnel_kept(kind: Kind, tmp_path: Path) -> None:
    ours = Authority(tmp_path, "ours")
    (tmp_path / "other").mkdir()
    theirs = Authority(tmp_path / "other", "theirs")
    async with (
        Hostile(keeps_saying(OK), tls=ours.server("hooks.example")) as peer,
        Hostile(keeps_saying(OK), tls=theirs.server("hooks.example")) as foreign,
    ):
        with kind([peer.port, foreign.port]) as proxy:
            async with through(proxy.url(), ca=ours.file, found=("127.0.0.1",)) as client:
                for _ in range(3):
                    outcome = await client.post(request_to(peer.url("/hook", "hooks.example")))
                    assert outcome.answer is Answer.SUCCESS, outcome
                assert client.open == 1
                for url in (foreign.url("/", "hooks.example"), peer.url("/", "other.example")):
                    assert_failed(await client.post(request_to(url)), "tls")
        assert peer.requests[0].startswith(b"POST /hook HTTP/1.1\r\nHost: hooks.example:")
        assert foreign.requests == []
        token = base64.b64encode(f"{kind.USER}:{kind.PASSWORD}".encode())
        for request in peer.requests:
            # Nothing of the proxy's comes to the receiver, nor of the login at it.
            assert b"proxy" not in request.lower()
            assert b"\r\nVia:" not in request
            assert token not in request
        assert len(peer.requests) == 3


async def test_plain_http_goes_by_a_tunnel_that_is_kept(kind: Kind) -> None:
    async with Hostile(keeps_saying(OK)) as peer:
        with kind([peer.port]) as proxy:
            async with through(proxy.url()) as client:
                for _ in range(3):
                    outcome = await client.post(request_to(peer.url()))
                    assert outcome.answer is Answer.SUCCESS, outcome
                assert client.open == 1
        assert (peer.connections, len(peer.requests)) == (1, 3)
        assert b"\r\nVia:" not in peer.requests[0]


async def refused(proxy: Forward, login: str, port: int) -> Outcome:
    """What becomes of a request that the proxy does not let through; it shows no secret."""
    async with through(login, found=("127.0.0.1", "127.0.0.2")) as client:
        outcome = await client.post(request_to(f"http://hooks.example:{port}/tok3n"))
        await settled(client, 0)
    assert_failed(outcome, "proxy")
    assert f"the proxy 127.0.0.1:{proxy.port} refused to connect" in outcome.detail
    for secret in (proxy.PASSWORD, "wr0ng-marked", "tok3n", "Basic"):
        assert secret not in outcome.detail
    return outcome


async def test_a_refused_login_says_so(kind: Kind) -> None:
    async with Hostile(keeps_saying(OK)) as peer:
        with kind([peer.port]) as proxy:
            wrong = await refused(proxy, proxy.url("wr0ng-marked"), peer.port)
            none = await refused(proxy, proxy.bare_url, peer.port)
        assert peer.connections == 0
    assert f"it answered {kind.NOT_LET_IN} " in wrong.detail
    assert "it answered 407 " in none.detail
    for outcome in (wrong, none):
        assert "user and password in CDC_PROXY" in outcome.detail


async def test_what_it_forbids_is_its_refusal_and_not_the_receivers(kind: Kind) -> None:
    """A receiver's 403 would have a status, and an excerpt of what it said."""
    async with Hostile(keeps_saying(OK)) as peer:
        with kind([1]) as proxy:
            outcome = await refused(proxy, proxy.url(), peer.port)
        assert peer.connections == 0
    assert "it answered 403 Forbidden" in outcome.detail
    assert "CDC_PROXY" not in outcome.detail
    assert outcome.excerpt == ""


async def test_a_receiver_that_is_not_there(kind: Kind) -> None:
    """The proxy says so in its own words: whose fault it is cannot be known."""
    with refusing_port() as port, kind([port]) as proxy:
        outcome = await refused(proxy, proxy.url(), port)
    assert "it answered 50" in outcome.detail


async def test_the_proxy_looks_names_up_where_set() -> None:
    if Squid.PROGRAM is None:
        pytest.skip(Squid.MISSING)
    async with Hostile(keeps_saying(OK)) as peer:
        with Squid([peer.port]) as proxy:
            async with through(proxy.url(), resolves=True) as client:
                outcome = await client.post(request_to(peer.url("/", "hooks.example")))
                assert outcome.answer is Answer.SUCCESS, outcome


async def test_one_that_ends_is_found_to_have_ended(kind: Kind) -> None:
    """A kept tunnel breaks with it; the next request says who is not there."""
    async with Hostile(keeps_saying(OK)) as peer:
        with kind([peer.port]) as proxy:
            async with through(proxy.url()) as client:
                assert (await client.post(request_to(peer.url()))).answer is Answer.SUCCESS
                proxy.end()
                await settled(client, 0)
                outcome = await client.post(request_to(peer.url()))
    assert_failed(outcome, "proxy")
    assert "cannot be reached" in outcome.detail
