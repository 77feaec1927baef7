"""A receiver that drips, resets, closes or talks out of turn, in each phase of an exchange."""

from __future__ import annotations

import asyncio
import socket
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from cdc.deliver import Client
from cdc.deliver.answer import HttpReply
from cdc.model import Answer
from tests.deliver.kit import DEADLINE, LOOPBACK, assert_failed, request_to, settled
from tests.deliver.test_reading import GOOD, GOOD_BY_CLOSING, LIMIT, NO_HTTP
from tests.support import hostile
from tests.support.hostile import OK, Behaviour, Hostile, keeps_saying, read_request, repeats, says

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"

DRIPS = {
    "phrase": repeats(b"HTTP/1.1 200 ", b"O", 0.01),
    "header name": repeats(b"HTTP/1.1 200 OK\r\n", b"X", 0.01),
    "header value": repeats(b"HTTP/1.1 200 OK\r\nX: ", b"x", 0.01),
    "headers": hostile.drip_headers,
    "interim answers": repeats(b"", b"HTTP/1.1 102 P\r\n\r\n", 0.1),
    "chunk size": repeats(CHUNKED, b"0", 0.01),
    "chunk extension": repeats(CHUNKED + b"5;", b"e", 0.01),
    "chunk": repeats(CHUNKED + b"ffff\r\n", b".", 0.01),
    "chunks": repeats(CHUNKED, b"1\r\n.\r\n", 0.01),
    "trailer": repeats(CHUNKED + b"0\r\nX: ", b"x", 0.01),
    "body": repeats(LENGTH, b".", 0.01),
    "body until the end": repeats(b"HTTP/1.0 200 OK\r\n\r\n", b".", 0.01),
}
HALVES = {
    "status line": b"HTTP/1.1 2",
    "header": b"HTTP/1.1 200 OK\r\nX: x",
    "head": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n",
    "after the head": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
    "after an interim answer": b"HTTP/1.1 100 Continue\r\n\r\n",
    "body": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n1234",
    "chunk size": CHUNKED + b"5",
    "chunk": CHUNKED + b"5\r\n1234",
    "chunk end": CHUNKED + b"5\r\n12345\r",
    "last chunk": CHUNKED + b"5\r\n12345\r\n0\r\n",
    "trailer": CHUNKED + b"0\r\nX: x",
}


@pytest.mark.parametrize("behaviour", DRIPS.values(), ids=DRIPS.keys())
async def test_dripping(hasty: Client, behaviour: Behaviour) -> None:
    async with Hostile(behaviour) as peer:
        outcome = await hasty.post(request_to(peer.url()))
        assert_failed(outcome, "timeout")
        assert DEADLINE * 0.9 < outcome.duration < DEADLINE + 1
        async with asyncio.timeout(5):
            await peer.gone.wait()


@pytest.mark.parametrize("half", HALVES.values(), ids=HALVES.keys())
@pytest.mark.parametrize("end", [says, hostile.resets_after], ids=["closes", "resets"])
async def test_half_an_answer(
    client: Client, half: bytes, end: Callable[[bytes], Behaviour]
) -> None:
    async with Hostile(end(half)) as peer:
        assert_failed(await client.post(request_to(peer.url())), "reset")
        assert peer.connections == 1


@pytest.mark.parametrize("half", HALVES.values(), ids=HALVES.keys())
async def test_half_an_answer_and_silence(half: bytes) -> None:
    client = Client(LOOPBACK, deadline=0.1)
    async with Hostile(hostile.stops_after(half)) as peer:
        assert_failed(await client.post(request_to(peer.url())), "timeout")
        async with asyncio.timeout(5):
            await peer.gone.wait()
    await client.close()


@pytest.mark.parametrize("answer", NO_HTTP.values(), ids=NO_HTTP.keys())
async def test_no_answer_of_http(client: Client, answer: bytes) -> None:
    async with Hostile(says(answer)) as peer:
        outcome = await client.post(request_to(peer.url("/tok3n")))
        assert_failed(outcome, "protocol")
        assert "tok3n" not in outcome.detail
        assert peer.connections == 1


@pytest.mark.parametrize(
    ("answer", "reply"),
    [*GOOD.values(), *GOOD_BY_CLOSING.values()],
    ids=[*GOOD, *(f"until closed: {name}" for name in GOOD_BY_CLOSING)],
)
async def test_good_answers(answer: bytes, reply: HttpReply) -> None:
    client = Client(LOOPBACK, deadline=5, answer_limit=LIMIT)
    async with Hostile(says(answer)) as peer:
        outcome = await client.post(request_to(peer.url()))
    await client.close()
    assert outcome.status == reply.status
    assert outcome.excerpt == reply.body.decode()[:1024]
    wait = float(reply.retry_after) if reply.retry_after else None
    assert outcome.retry_after == wait


async def test_two_answers_at_once(client: Client) -> None:
    """The first one counts, and the second one does not."""
    bad = b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"
    async with Hostile(keeps_saying(bad + OK)) as peer:
        for _ in range(3):
            assert (await client.post(request_to(peer.url()))).status == 500
        assert peer.connections == 3


async def test_reset_when_accepted(client: Client) -> None:
    async def resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hostile.abort(writer)

    async with Hostile(resets) as peer:
        assert_failed(await client.post(request_to(peer.url())), "reset")
        assert peer.connections == 1


LARGE = replace(request_to("http://127.0.0.1/"), body=b"x" * 12_000_000)
"""More than the kernel takes from us while the peer does not read."""


async def test_a_peer_that_does_not_read() -> None:
    done = asyncio.Event()

    async def waits(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await done.wait()

    client = Client(LOOPBACK, deadline=DEADLINE)
    async with Hostile(waits) as peer:
        outcome = await client.post(replace(LARGE, url=peer.url()))
        done.set()
        assert_failed(outcome, "timeout")
        assert outcome.duration < DEADLINE + 1
    await client.close()


async def test_a_peer_that_resets_while_we_write(client: Client) -> None:
    async def reads_some(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(100_000)
        hostile.abort(writer)

    async with Hostile(reads_some) as peer:
        assert_failed(await client.post(replace(LARGE, url=peer.url())), "reset")


async def test_an_answer_before_the_request_was_read(client: Client) -> None:
    """It counts; what is left of the request is not sent to the next receiver."""
    answered = asyncio.Event()

    async def hasty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if peer.connections > 1:
            return await keeps_saying(OK)(reader, writer)
        writer.write(b"HTTP/1.1 413 Too large\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        await answered.wait()
        while await reader.read(1_000_000):
            pass  # and no further answer, whatever comes

    async with Hostile(hasty) as peer:
        outcome = await client.post(replace(LARGE, url=peer.url()))
        assert outcome.status == 413
        answered.set()
        assert (await client.post(request_to(peer.url()))).answer is Answer.SUCCESS
        assert peer.connections == 2


async def test_a_peer_that_speaks_first(client: Client) -> None:
    """Load balancers refuse like this."""

    async def refuses(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"HTTP/1.1 503 Full\r\nRetry-After: 3\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        )
        await writer.drain()
        await reader.read()

    async with Hostile(refuses) as peer:
        for _ in range(3):
            outcome = await client.post(request_to(peer.url()))
            assert (outcome.answer, outcome.retry_after) == (Answer.BUSY, 3)


async def test_a_peer_that_stops_sending_before_its_answer(client: Client) -> None:
    async def half_closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write_eof()
        await reader.read()

    async with Hostile(half_closes) as peer:
        assert_failed(await client.post(request_to(peer.url())), "reset")


async def test_a_peer_that_stops_sending_after_its_answer(client: Client) -> None:
    async def half_closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK)
        writer.write_eof()
        await reader.read()

    async with Hostile(half_closes) as peer:
        for _ in range(3):
            assert (await client.post(request_to(peer.url()))).answer is Answer.SUCCESS


@pytest.mark.parametrize("seed", range(5))
async def test_a_peer_that_closes_whenever_it_likes(client: Client, seed: int) -> None:
    """Kept connections end between requests, at random: no delivery fails for it."""
    random = Random(seed)

    async def closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(random.randrange(1, 4)):
            await read_request(reader)
            writer.write(OK)
            await writer.drain()
        for _ in range(random.randrange(6)):
            await asyncio.sleep(0)
        if random.random() < 0.5:
            hostile.abort(writer)

    async def some() -> list[Answer]:
        answers = []
        for _ in range(30):
            answers.append((await client.post(request_to(peer.url()))).answer)
            for _ in range(random.randrange(6)):
                await asyncio.sleep(0)
        return answers

    async with Hostile(closes) as peer:
        got = await asyncio.gather(*(some() for _ in range(4)))
    assert {answer for answers in got for answer in answers} == {Answer.SUCCESS}
    # Some connections carried more than one, and more than one was needed.
    assert 40 <= peer.connections < 240


@pytest.mark.parametrize(
    "behaviour",
    [
        repeats(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n", b"g" * 65_536),
        repeats(b"HTTP/1.1 200 OK\r\n\r\n", b"g" * 65_536),
        repeats(CHUNKED, b"40000000\r\n" + b"g" * 65_536),
        hostile.endless_headers,
        hostile.endless_line,
        hostile.endless_interim,
    ],
    ids=["length", "until closed", "one chunk", "headers", "a line", "interim"],
)
async def test_memory_stays_bounded(client: Client, behaviour: Behaviour) -> None:
    async with Hostile(behaviour) as peer:
        await client.post(request_to(peer.url()))  # what is loaded once is no part of it
        tracemalloc.start()
        try:
            await client.post(request_to(peer.url()))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    # The peer is in this process too; its piece and its buffers are most of it.
    assert peak < 2_000_000


async def test_nothing_is_left_open(client: Client) -> None:
    """After all that can go wrong, the client holds no socket but those it may keep."""
    async with Hostile(hostile.resets_after(b"HTTP/1.1 2")) as peer:
        await asyncio.gather(*(client.post(request_to(peer.url())) for _ in range(20)))
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        await client.post(request_to(f"http://127.0.0.1:{mute.getsockname()[1]}/"))
    await settled(client, 0)
