"""The HTTP client against answers of every kind, on real sockets."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

from cdc.deliver import Client
from cdc.deliver.outcome import answer_for
from cdc.model import Answer
from tests.deliver.kit import BROKEN, DEADLINE, LOOPBACK, assert_failed, request_to
from tests.support import hostile
from tests.support.hostile import OK, Hostile, keeps_saying, says


async def test_a_request_on_the_wire_literally(client: Client) -> None:
    async with Hostile(says(OK)) as peer:
        outcome = await client.post(request_to(peer.url("/a%7e/../b?x=a+b%20&y=[]"), X_Key="k"))
        assert peer.requests == [
            b"POST /a%7e/../b?x=a+b%20&y=[] HTTP/1.1\r\n"
            b"Host: 127.0.0.1:" + str(peer.port).encode() + b"\r\n"
            b"Content-Type: application/json\r\n"
            b"User-Agent: interview suite webhook\r\n"
            b"webhook-id: id-1\r\n"
            b"webhook-timestamp: 1614265330\r\n"
            b"webhook-signature: v1,c2ln\r\n"
            b"X-Key: k\r\n"
            b"Content-Length: 17\r\n\r\n"
            b'{"endpoint": "x"}'
        ]
    assert outcome.answer is Answer.SUCCESS
    assert (outcome.status, outcome.error, outcome.detail) == (200, None, "")
    assert outcome.excerpt == "ok"
    assert 0 < outcome.duration < 5


STATUSES = [
    (200, Answer.SUCCESS),
    (201, Answer.SUCCESS),
    (204, Answer.SUCCESS),
    (299, Answer.SUCCESS),
    (300, Answer.FAILURE),
    (301, Answer.FAILURE),
    (302, Answer.FAILURE),
    (304, Answer.FAILURE),
    (307, Answer.FAILURE),
    (308, Answer.FAILURE),
    (400, Answer.FAILURE),
    (401, Answer.FAILURE),
    (404, Answer.FAILURE),
    (408, Answer.FAILURE),
    (410, Answer.GONE),
    (429, Answer.BUSY),
    (500, Answer.FAILURE),
    (502, Answer.SLOW),
    (503, Answer.BUSY),
    (504, Answer.SLOW),
    (599, Answer.FAILURE),
    (999, Answer.FAILURE),
]


@pytest.mark.parametrize(("status", "answer"), STATUSES)
async def test_every_status_has_its_class(client: Client, status: int, answer: Answer) -> None:
    assert answer_for(status) is answer
    head = f"HTTP/1.1 {status} Whatever\r\nContent-Length: 0\r\n\r\n"
    async with Hostile(says(head.encode())) as peer:
        outcome = await client.post(request_to(peer.url()))
    assert (outcome.status, outcome.answer) == (status, answer)
    if answer is not Answer.SUCCESS:
        assert outcome.error == "status"
        assert str(status) in outcome.detail
        assert "Whatever" not in outcome.detail


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(client: Client, status: int) -> None:
    async with Hostile(keeps_saying(OK)) as elsewhere:
        to = elsewhere.url("/secret")
        head = f"HTTP/1.1 {status} Go\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n"
        async with Hostile(keeps_saying(head.encode())) as peer:
            outcome = await client.post(request_to(peer.url()))
            assert len(peer.requests) == 1
        assert elsewhere.connections == 0
    assert outcome.status == status
    assert "not followed" in outcome.detail


@pytest.mark.parametrize("status", [429, 503, 500])
async def test_retry_after_is_read(client: Client, status: int) -> None:
    head = f"HTTP/1.1 {status} X\r\nRetry-After: 17\r\nContent-Length: 0\r\n\r\n"
    async with Hostile(says(head.encode())) as peer:
        outcome = await client.post(request_to(peer.url()))
    assert outcome.retry_after == 17


async def test_connection_refused(client: Client) -> None:
    with hostile.refusing_port() as port:
        outcome = await client.post(request_to(f"http://127.0.0.1:{port}/tok3n"))
        assert_failed(outcome, "refused")
        assert outcome.detail == f"127.0.0.1:{port} refused the connection"


HANGING = {
    "no answer": hostile.hang,
    "dripping headers": hostile.drip_headers,
    "dripping body": hostile.drip_body,
    "body never complete": hostile.stops_after(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1234"),
    "dripping chunks": hostile.repeats(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", 0.01
    ),
    "dripping interim answers": hostile.repeats(b"", b"HTTP/1.1 102 P\r\n\r\n", 0.1),
}


@pytest.mark.parametrize("behaviour", HANGING.values(), ids=HANGING.keys())
async def test_one_deadline_over_everything(hasty: Client, behaviour: hostile.Behaviour) -> None:
    async with Hostile(behaviour) as peer:
        started = time.perf_counter()
        outcome = await hasty.post(request_to(peer.url()))
        elapsed = time.perf_counter() - started
        assert_failed(outcome, "timeout")
        assert DEADLINE * 0.9 < outcome.duration <= elapsed < DEADLINE + 1
        assert len(peer.requests) == 1
        # The connection is given up, not left behind.
        async with asyncio.timeout(5):
            await peer.gone.wait()


async def test_a_connection_that_does_not_come_about_has_its_own_limit() -> None:
    # A full backlog: the kernel answers no further connections.
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        client = Client(LOOPBACK, deadline=30, connect_timeout=0.2)
        outcome = await client.post(request_to(f"http://127.0.0.1:{full.getsockname()[1]}/"))
        await client.close()
    assert_failed(outcome, "timeout")
    assert "no connection" in outcome.detail
    assert outcome.duration < 2


@pytest.mark.parametrize(("behaviour", "error"), BROKEN.values(), ids=BROKEN.keys())
async def test_broken_answers(client: Client, behaviour: hostile.Behaviour, error: str) -> None:
    async with Hostile(behaviour) as peer:
        outcome = await client.post(request_to(peer.url("/tok3n")))
        assert len(peer.requests) == 1, "a first connection's failure is not repeated"
    assert_failed(outcome, error)
    assert outcome.duration < 3, "ended by its own limit, not by the deadline"
    assert "tok3n" not in outcome.detail


@pytest.mark.parametrize(
    ("behaviour", "status"),
    [(hostile.gigabytes, 200), (hostile.gigabytes_chunked, 500)],
    ids=["length", "chunked"],
)
async def test_of_gigabytes_only_the_beginning_is_read(
    client: Client, behaviour: hostile.Behaviour, status: int
) -> None:
    async with Hostile(behaviour) as peer:
        outcome = await client.post(request_to(peer.url()))
        async with asyncio.timeout(5):
            await peer.gone.wait()
    assert outcome.status == status
    assert (outcome.answer is Answer.SUCCESS) == (status == 200)
    assert len(outcome.excerpt) == 1024
    assert outcome.duration < 3


async def test_a_gzip_bomb_stays_packed(client: Client) -> None:
    async with Hostile(hostile.gzip_bomb()) as peer:
        outcome = await client.post(request_to(peer.url()))
    assert outcome.answer is Answer.SUCCESS
    assert len(outcome.excerpt.encode()) <= 1024
    assert outcome.excerpt.isprintable()


async def test_another_protocol_is_no_success(client: Client) -> None:
    switch = b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"
    async with Hostile(keeps_saying(switch)) as peer:
        outcome = await client.post(request_to(peer.url()))
    assert (outcome.answer, outcome.status) == (Answer.FAILURE, 101)


async def test_a_body_until_the_connection_closes_counts(client: Client) -> None:
    async with Hostile(says(b"HTTP/1.0 200 OK\r\n\r\nold but fine")) as peer:
        outcome = await client.post(request_to(peer.url()))
    assert (outcome.answer, outcome.excerpt) == (Answer.SUCCESS, "old but fine")
