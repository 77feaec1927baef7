"""Connections are kept, replaced, given up; nothing of the environment gets in."""

from __future__ import annotations

import asyncio

import pytest

from cdc.deliver import Client, connection
from cdc.model import Answer
from tests.deliver.kit import assert_failed, once_then, request_to
from tests.support import hostile
from tests.support.hostile import OK, Hostile, keeps_saying, read_request, says


async def test_a_connection_is_used_again(client: Client) -> None:
    async with Hostile(keeps_saying(OK)) as peer:
        for _ in range(5):
            assert (await client.post(request_to(peer.url()))).answer is Answer.SUCCESS
        assert (peer.connections, len(peer.requests)) == (1, 5)


async def test_failed_answers_keep_the_connection_too(client: Client) -> None:
    answer = b"HTTP/1.1 500 Oh\r\nContent-Length: 3\r\n\r\nno!"
    async with Hostile(keeps_saying(answer)) as peer:
        for _ in range(3):
            assert (await client.post(request_to(peer.url()))).excerpt == "no!"
        assert peer.connections == 1


async def test_many_at_once(client: Client) -> None:
    async with Hostile(keeps_saying(OK)) as peer:
        outcomes = await asyncio.gather(*(client.post(request_to(peer.url())) for _ in range(200)))
    assert {outcome.answer for outcome in outcomes} == {Answer.SUCCESS}


@pytest.mark.parametrize("end", [says(b""), hostile.resets_after(b"")], ids=["closes", "resets"])
async def test_a_stale_connection_is_no_failure(client: Client, end: hostile.Behaviour) -> None:
    async with Hostile(once_then(end)) as peer:
        for _ in range(2):
            assert (await client.post(request_to(peer.url()))).answer is Answer.SUCCESS
        assert peer.connections == 2
        # The one that ended unanswered went out again, the same.
        assert len(peer.requests) == 3
        assert peer.requests[1] == peer.requests[2]


async def test_a_stale_connection_is_replaced_once_only(client: Client) -> None:
    async def one_each(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        if peer.connections <= 3:
            await together.wait()
            writer.write(OK)
            await read_request(reader)

    together = asyncio.Barrier(3)
    async with Hostile(one_each) as peer:
        # Three connections are kept; then none answers a second request, nor do new ones.
        await asyncio.gather(*(client.post(request_to(peer.url())) for _ in range(3)))
        outcome = await client.post(request_to(peer.url()))
        assert_failed(outcome, "reset")
        assert len(peer.requests) == 3 + 2


@pytest.mark.parametrize(
    "end",
    [says(b"HTTP/1.1 200 O"), says(b"HTTP/1.1 102 Processing\r\n\r\n"), hostile.garbage],
    ids=["half a status", "interim answer", "garbage"],
)
async def test_after_a_byte_of_an_answer_nothing_is_repeated(
    client: Client, end: hostile.Behaviour
) -> None:
    async with Hostile(once_then(end)) as peer:
        await client.post(request_to(peer.url()))
        outcome = await client.post(request_to(peer.url()))
        assert outcome.answer is Answer.FAILURE
        assert len(peer.requests) == 2


async def test_what_ends_late_is_not_repeated(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "IDLE_RACE_S", 0.0)
    async with Hostile(once_then(says(b""))) as peer:
        await client.post(request_to(peer.url()))
        assert_failed(await client.post(request_to(peer.url())), "reset")
        assert len(peer.requests) == 2


async def test_an_unsolicited_answer_is_not_taken(client: Client) -> None:
    """A second answer sent ahead would otherwise count for the next delivery."""
    wrong = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong"
    sent_ahead = asyncio.Event()

    async def ahead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        if peer.connections == 1:
            writer.write(OK)
            await writer.drain()
            await answered.wait()
            writer.write(wrong)
            await writer.drain()
            sent_ahead.set()
            await read_request(reader)
        writer.write(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n")

    answered = asyncio.Event()
    async with Hostile(ahead) as peer:
        assert (await client.post(request_to(peer.url()))).excerpt == "ok"
        answered.set()
        await sent_ahead.wait()
        # Loopback: what was sent lies in our kernel; some turns of the loop take it in.
        for _ in range(20):
            await asyncio.sleep(0)
        assert (await client.post(request_to(peer.url()))).status == 500
        assert peer.connections == 2


async def test_cookies_are_not_kept(client: Client) -> None:
    answer = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b; Path=/\r\nContent-Length: 0\r\n\r\n"
    async with Hostile(keeps_saying(answer)) as peer:
        for _ in range(2):
            await client.post(request_to(peer.url(name="localhost")))
        assert not any(b"cookie" in request.lower() for request in peer.requests)


async def test_proxies_of_the_environment_are_not_used(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Hostile(keeps_saying(OK)) as proxy, Hostile(keeps_saying(OK)) as peer:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url(""))
        await client.post(request_to(peer.url()))
        assert (proxy.connections, peer.connections) == (0, 1)


async def test_cancelling_passes_through_and_closes(client: Client) -> None:
    async with Hostile(hostile.hang) as peer:
        task = asyncio.create_task(client.post(request_to(peer.url())))
        async with asyncio.timeout(5):
            await peer.asked.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await peer.gone.wait()


async def test_after_close_it_says_so(client: Client) -> None:
    await client.close()
    with pytest.raises(RuntimeError, match="closed"):
        await client.post(request_to("http://127.0.0.1/"))
