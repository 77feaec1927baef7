"""Connections are bounded in number and time, and none is lent to the wrong request."""

from __future__ import annotations

import asyncio
import socket
import ssl
from time import monotonic, perf_counter

import pytest

from cdc.deliver import Client, Crowded, Guard, pool
from cdc.deliver.pool import ConnectionPool, Origin
from cdc.model import Answer
from tests.deliver.kit import DEADLINE, LOOPBACK, assert_failed, once_then, request_to, settled
from tests.support import hostile
from tests.support.hostile import OK, Hostile, keeps_saying, read_request


async def until_gone(peer: Hostile) -> None:
    async with asyncio.timeout(5):
        await peer.gone.wait()


async def posts(client: Client, peer: Hostile, number: int) -> set[Answer]:
    outcomes = await asyncio.gather(*(client.post(request_to(peer.url())) for _ in range(number)))
    return {outcome.answer for outcome in outcomes}


def together(number: int) -> hostile.Behaviour:
    """Answers none before N have asked, on connections of their own."""
    barrier = asyncio.Barrier(number)

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            await barrier.wait()
            writer.write(OK)

    return behave


async def test_an_idle_connection_is_closed_in_time() -> None:
    client = Client(LOOPBACK, deadline=5, keepalive=0.2)
    async with Hostile(keeps_saying(OK)) as peer:
        started = perf_counter()
        for _ in range(3):
            assert (await client.post(request_to(peer.url()))).answer is Answer.SUCCESS
        await until_gone(peer)
        assert perf_counter() - started >= 0.2
        assert peer.connections == 1
        await client.post(request_to(peer.url()))
        assert peer.connections == 2
    await client.close()


@pytest.mark.parametrize(("keepalive", "rest"), [(0.05, 0), (60, 0), (60, DEADLINE * 1.2)])
async def test_the_deadline_of_a_kept_connection(keepalive: float, rest: float) -> None:
    """One timer serves idleness and deadlines, whichever is the shorter."""
    client = Client(LOOPBACK, deadline=DEADLINE, keepalive=keepalive)
    async with Hostile(once_then(hostile.stops_after(b""))) as peer:
        await client.post(request_to(peer.url()))
        await asyncio.sleep(rest)  # in which the timer, set for the first exchange, goes off
        outcome = await client.post(request_to(peer.url()))
        assert_failed(outcome, "timeout")
        assert DEADLINE * 0.9 < outcome.duration < DEADLINE + 1
        # It has been read; nothing is sent a second time for taking long.
        assert (peer.connections, len(peer.requests)) == (1, 2)
    await client.close()


async def test_a_slow_answer_on_an_old_connection() -> None:
    """The timer of the first exchange fires during the second one, and means nothing there."""
    client = Client(LOOPBACK, deadline=0.6, keepalive=60)

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            await asyncio.sleep(0.4)
            writer.write(OK)

    async with Hostile(slow) as peer:
        for _ in range(3):
            assert (await client.post(request_to(peer.url()))).answer is Answer.SUCCESS
        assert peer.connections == 1
    await client.close()


async def test_the_deadline_holds_across_the_second_try() -> None:
    """Both tries are one attempt."""
    client = Client(LOOPBACK, deadline=DEADLINE)

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        if peer.connections == 1:
            writer.write(OK)
            await read_request(reader)
            await asyncio.sleep(DEADLINE / 2)
        else:
            await reader.read()

    async with Hostile(late) as peer:
        await client.post(request_to(peer.url()))
        outcome = await client.post(request_to(peer.url()))
        assert peer.connections == 2
    assert_failed(outcome, "timeout")
    assert outcome.duration < DEADLINE * 1.4
    await client.close()


async def test_an_origin_with_many_connections_does_not_cost_the_others_theirs(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "IDLE_CONNECTIONS", 4)
    async with Hostile(keeps_saying(OK)) as calm, Hostile(together(8)) as busy:
        await client.post(request_to(calm.url()))
        assert await posts(client, busy, 8) == {Answer.SUCCESS}
        assert busy.connections == 8
        await settled(client, 4)
        await client.post(request_to(calm.url()))
        assert calm.connections == 1


async def test_idle_connections_in_total_are_bounded(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that has lain longest gives way."""
    monkeypatch.setattr(pool, "IDLE_CONNECTIONS", 2)
    async with (
        Hostile(keeps_saying(OK)) as first,
        Hostile(keeps_saying(OK)) as second,
        Hostile(keeps_saying(OK)) as third,
    ):
        for peer in (first, second, first, third):
            await client.post(request_to(peer.url()))
        await until_gone(second)
        await settled(client, 2)
        for peer in (first, third):
            await client.post(request_to(peer.url()))
            assert peer.connections == 1


async def test_open_sockets_are_bounded() -> None:
    client = Client(LOOPBACK, deadline=5, most_open=3)
    open_now = most = 0

    async def counts(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        try:
            while True:
                await read_request(reader)
                await asyncio.sleep(0)
                writer.write(OK)
        finally:
            open_now -= 1

    async with Hostile(counts) as peer, Hostile(counts) as other:
        one, two = await asyncio.gather(posts(client, peer, 20), posts(client, other, 20))
        assert one == two == {Answer.SUCCESS}
        # The peer hears of an end a little later than we do.
        assert most <= 3 + 3
        assert client.open <= 3
    await client.close()


async def test_an_idle_connection_gives_way_to_a_new_one() -> None:
    client = Client(LOOPBACK, deadline=5, most_open=1)
    async with Hostile(keeps_saying(OK)) as first, Hostile(keeps_saying(OK)) as second:
        for peer in (first, second, first):
            assert (await client.post(request_to(peer.url()))).answer is Answer.SUCCESS
    await client.close()


async def test_who_waits_for_a_socket_waits_within_the_connect_limit() -> None:
    client = Client(LOOPBACK, deadline=5, connect_timeout=0.1, most_open=1)
    async with Hostile(hostile.hang) as peer, Hostile(keeps_saying(OK)) as other:
        hanging = asyncio.create_task(client.post(request_to(peer.url())))
        async with asyncio.timeout(5):
            await peer.asked.wait()
        with pytest.raises(Crowded):  # which says nothing of that receiver
            await client.post(request_to(other.url()))
        assert other.connections == 0
        hanging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hanging
        assert (await client.post(request_to(other.url()))).answer is Answer.SUCCESS
    await client.close()


async def test_no_place_is_lost_when_dialling_fails() -> None:
    async def look(name: str, port: int) -> list[str]:
        if name == "no.example":
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return ["10.0.0.1"]

    client = Client(LOOPBACK, deadline=5, connect_timeout=0.5, most_open=1, look=look)
    async with Hostile(keeps_saying(OK)) as peer, Hostile(hostile.stops_after(b"")) as mute:
        with hostile.refusing_port() as port:
            for url, error in (
                (f"http://127.0.0.1:{port}/", "refused"),
                ("http://no.example/", "dns"),
                ("http://inside.example/", "guard"),
                (f"https://127.0.0.1:{mute.port}/", "timeout"),
            ):
                for _ in range(2):
                    outcome = await client.post(request_to(url))
                    assert_failed(outcome, error)
        dialling = asyncio.create_task(client.post(request_to(f"https://127.0.0.1:{mute.port}/")))
        await asyncio.sleep(0)
        dialling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dialling
        assert (await client.post(request_to(peer.url()))).answer is Answer.SUCCESS
        await settled(client, 1)
    await client.close()


async def test_a_connection_about_to_end_is_not_handed_out(client: Client) -> None:
    """Between its end and the moment the event loop reports it, it still lies there."""
    async with Hostile(keeps_saying(OK)) as peer:
        await client.post(request_to(peer.url()))
        connections = client._pool
        (connection,), (origin,) = connections._origins, connections._idle
        connection.close()
        assert connections.take(origin) is None
        assert (await client.post(request_to(peer.url()))).answer is Answer.SUCCESS
        assert peer.connections == 2


async def test_another_context_is_another_origin() -> None:
    """A connection made with one trust or certificate is not lent to a webhook with another."""

    async def look(name: str, port: int) -> list[str]:
        raise AssertionError

    connections = ConnectionPool(
        Guard([], allow_http=True), look, connect_timeout=1, keepalive=1, answer_limit=1
    )
    one, other = ssl.create_default_context(), ssl.create_default_context()
    assert Origin("a", 1, one) == Origin("a", 1, one) != Origin("a", 1, other)
    assert connections.take(Origin("a", 1, None)) is None


async def test_closing_ends_what_is_in_flight() -> None:
    client = Client(LOOPBACK, deadline=30)
    async with Hostile(hostile.hang) as peer, Hostile(keeps_saying(OK)) as other:
        await client.post(request_to(other.url()))
        under_way = asyncio.create_task(client.post(request_to(peer.url())))
        async with asyncio.timeout(5):
            await peer.asked.wait()
            await client.close()
            assert client.open == 0
            assert_failed(await under_way, "reset")


async def test_closing_while_dialling(client: Client) -> None:
    async with Hostile(keeps_saying(OK)) as peer:
        dialling = asyncio.create_task(client.post(request_to(peer.url())))
        await asyncio.sleep(0)
        await client.close()
        async with asyncio.timeout(5):
            assert_failed(await dialling, "reset")
        assert not peer.requests
        await settled(client, 0)


async def test_an_address_that_does_not_answer_is_not_waited_for() -> None:
    """Of several addresses the next one is tried soon, not when the time has run out."""

    async def look(name: str, port: int) -> list[str]:
        return ["127.0.0.2", "127.0.0.1"]

    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.2", 0))
        full.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        port = full.getsockname()[1]
        server = await asyncio.start_server(keeps_saying_alone, "127.0.0.1", port)
        client = Client(LOOPBACK, deadline=5, connect_timeout=5, look=look)
        started = monotonic()
        outcome = await client.post(request_to(f"http://two.example:{port}/"))
        assert outcome.answer is Answer.SUCCESS
        assert monotonic() - started < 3
        await client.close()
        server.close()


async def keeps_saying_alone(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(OK)
    await reader.read()
    writer.close()
