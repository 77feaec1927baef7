"""The guard, as far as it depends on the address dialled."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_network
from types import SimpleNamespace

import pytest

from cdc.deliver import Client, Guard, Withheld, dns, guard, pool
from cdc.model import Answer
from tests.deliver.kit import CLOSED, LOOPBACK, assert_failed, closed_post, request_to
from tests.support.hostile import OK, Hostile, keeps_saying, says


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0"])
async def test_inside_is_refused_when_dialled(host: str) -> None:
    async with Hostile(keeps_saying(OK)) as peer:
        outcome = await closed_post(f"http://{host}:{peer.port}/")
        assert peer.connections == 0
    assert_failed(outcome, "guard")
    assert "CDC_ALLOWED_NETWORKS" in outcome.detail


@pytest.mark.parametrize("found", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"])
async def test_a_name_that_resolves_to_the_inside_is_refused(found: str) -> None:
    async with Hostile(keeps_saying(OK)) as peer:
        outcome = await closed_post(f"http://public.example:{peer.port}/", found)
        assert peer.connections == 0
    assert_failed(outcome, "guard")
    assert "CDC_ALLOWED_NETWORKS" in outcome.detail
    assert "not a public address" in outcome.detail


async def test_of_a_mix_only_the_allowed_is_dialled() -> None:
    only = Guard([ip_network("127.0.0.2/32")], allow_http=True)
    async with Hostile(keeps_saying(OK), host="127.0.0.2") as good:
        url = f"http://mixed.example:{good.port}/"
        for order in (["127.0.0.1", "127.0.0.2"], ["127.0.0.2", "::1"]):
            outcome = await closed_post(url, *order, guard=only)
            assert outcome.answer is Answer.SUCCESS
        assert good.connections == 2


async def test_of_a_denied_network_nothing_is_dialled() -> None:
    denied = Guard(
        [ip_network("127.0.0.0/8")], allow_http=True, denied=[ip_network("127.0.0.2/32")]
    )
    async with Hostile(keeps_saying(OK), host="127.0.0.2") as inside:
        port = inside.port
        for host, found in (("127.0.0.2", ()), ("name.example", ("127.0.0.2",))):
            outcome = await closed_post(f"http://{host}:{port}/", *found, guard=denied)
            assert_failed(outcome, "guard")
            assert "denied" in outcome.detail
            assert "CDC_DENIED_NETWORKS" in outcome.detail
        assert inside.connections == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "[::ffff:127.0.0.1]", "name.example"])
async def test_this_machine_is_not_called_by_a_public_address_of_its_own(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "_V4", ())  # as if this machine's address were a public one
    for allowed in ([], [ip_network("127.0.0.0/8")]):
        judge = Guard(allowed, allow_http=True)
        async with Hostile(keeps_saying(OK)) as peer:
            found = () if host != "name.example" else ("127.0.0.1",)
            outcome = await closed_post(f"http://{host}:{peer.port}/", *found, guard=judge)
            if allowed:
                assert outcome.answer is Answer.SUCCESS
                continue
            assert not peer.requests
        assert_failed(outcome, "guard")
        assert "this machine" in outcome.detail
        assert "CDC_ALLOWED_NETWORKS" in outcome.detail


async def test_every_new_connection_is_judged_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is public first and then ours (DNS rebinding)."""
    monkeypatch.setattr(dns, "ANSWER_USED_S", 0.0)
    answers = [["127.0.0.1"], ["127.0.0.2"]]

    async def look(name: str, port: int) -> list[str]:
        return answers.pop(0)

    only_first = Guard([ip_network("127.0.0.1/32")], allow_http=True)
    client = Client(only_first, deadline=5, look=look)
    async with Hostile(says(OK)) as peer:
        first = await client.post(request_to(peer.url(name="rebinding.example")))
        second = await client.post(request_to(peer.url(name="rebinding.example")))
    await client.close()
    assert first.answer is Answer.SUCCESS
    assert_failed(second, "guard")
    assert "127.0.0.2" in second.detail


async def test_the_last_gate_stands_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were URL check and name check both fooled, the dialled address would still be judged."""
    monkeypatch.setattr(pool, "usable", lambda guard, addresses: addresses)
    monkeypatch.setattr(Guard, "check_url", lambda self, url: None)
    async with Hostile(keeps_saying(OK)) as peer:
        for host in ("127.0.0.1", "any.example"):
            outcome = await closed_post(f"http://{host}:{peer.port}/", "127.0.0.1")
            assert_failed(outcome, "guard")
        assert peer.connections == 0


async def test_a_name_that_does_not_resolve() -> None:
    async def look(name: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    client = Client(CLOSED, look=look)
    outcome = await client.post(request_to("https://no.example/tok3n"))
    await client.close()
    assert_failed(outcome, "dns")
    assert outcome.detail == (
        "the name of no.example:443 cannot be resolved: Name or service not known"
    )


async def test_http_and_bad_urls_are_refused() -> None:
    plain = await closed_post("http://1.1.1.1/", guard=Guard([], allow_http=False))
    assert_failed(plain, "guard")
    assert "CDC_ALLOW_HTTP" in plain.detail
    assert_failed(await closed_post("https://a b.com/"), "guard")
    assert_failed(await closed_post("ftp://a.com/"), "guard")


async def test_what_may_not_be_sent_any_more_once_connected_is_not() -> None:
    """Connecting takes its time; another daemon may own the webhook by then."""
    ours = False
    client = Client(LOOPBACK, deadline=5, lease=SimpleNamespace(may_send=lambda: ours))
    async with Hostile(keeps_saying(OK)) as peer:
        with pytest.raises(Withheld):
            await client.post(request_to(peer.url()))
        ours = True
        outcome = await client.post(request_to(peer.url()))
        # The connection was kept, and nothing had been said on it.
        assert (peer.connections, len(peer.requests)) == (1, 1)
    await client.close()
    assert outcome.answer is Answer.SUCCESS


async def test_a_name_that_moves_is_followed_while_traffic_is_steady(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A connection that is never idle would go on to the old host for ever."""
    monkeypatch.setattr(pool, "CONNECTION_AGE_S", (0.1, 0.2))
    monkeypatch.setattr(dns, "ANSWER_USED_S", 0.0)
    leads = "127.0.0.1"

    async def look(name: str, port: int) -> list[str]:
        return [leads]

    client = Client(LOOPBACK, deadline=5, look=look)
    async with Hostile(keeps_saying(OK)) as old:
        moved = Hostile(keeps_saying(OK), host="127.0.0.2", port=old.port)
        async with moved, asyncio.timeout(5):
            url = old.url(name="moves.example")
            await client.post(request_to(url))
            leads = "127.0.0.2"
            while not moved.requests:
                assert (await client.post(request_to(url))).answer is Answer.SUCCESS
    await client.close()
    assert len(old.requests) > 1
