"""What the tests of the HTTP client share."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_network

from cdc.deliver import Client, Guard
from cdc.message.signing import OURS, credentials, header_lines
from cdc.model import Answer, Outcome, Request
from tests.support import hostile
from tests.support.hostile import OK, keeps_saying, read_request, says

LOOPBACK = Guard([ip_network("127.0.0.0/8"), ip_network("::1/128")], allow_http=True)
CLOSED = Guard([], allow_http=True)

DEADLINE = 0.4
"""Of clients that meet a receiver who never ends."""


def request_to(url: str, **headers: str) -> Request:
    signed = (
        ("webhook-id", "id-1"),
        ("webhook-timestamp", "1614265330"),
        ("webhook-signature", "v1,c2ln"),
    )
    extra = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    head = header_lines((*OURS, *signed, *extra))
    return Request(url, head, b'{"endpoint": "x"}', credentials(extra))


def assert_failed(outcome: Outcome, error: str) -> None:
    assert (outcome.answer, outcome.status, outcome.error) == (Answer.FAILURE, None, error)
    assert outcome.detail
    assert outcome.detail.isprintable()


BROKEN = {
    "closes without an answer": (says(b""), "reset"),
    "resets without an answer": (hostile.resets_after(b""), "reset"),
    "closes in the status line": (says(b"HTTP/1.1 20"), "reset"),
    "closes in the headers": (says(b"HTTP/1.1 200 OK\r\nX-A: "), "reset"),
    "closes in the body": (says(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n12"), "reset"),
    "closes in a chunk": (
        says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12"),
        "reset",
    ),
    "resets in the body": (
        hostile.resets_after(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n12"),
        "reset",
    ),
    "garbage": (hostile.garbage, "protocol"),
    "HTTP/0.9": (hostile.http09, "protocol"),
    "bad chunk": (
        says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\x1b[2J\r\n"),
        "protocol",
    ),
    "bad length": (says(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n"), "protocol"),
    "two lengths": (
        says(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx"),
        "protocol",
    ),
    "headers without end": (hostile.endless_headers, "protocol"),
    "a line without end": (hostile.endless_line, "protocol"),
    "interim answers without end": (hostile.endless_interim, "protocol"),
    "chunk extension without end": (hostile.endless_extension, "protocol"),
}


def once_then(end: hostile.Behaviour) -> hostile.Behaviour:
    """Answers the first request of the first connection properly, its second one with `end`;
    later connections answer properly throughout."""
    first = True

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal first
        if not first:
            return await keeps_saying(OK)(reader, writer)
        first = False
        await read_request(reader)
        writer.write(OK)
        await end(reader, writer)

    return behave


async def settled(client: Client, number: int) -> None:
    """Waits until so many of its sockets are open."""
    async with asyncio.timeout(5):
        while client.open != number:  # noqa: ASYNC110 - the kernel decides when, without a signal
            await asyncio.sleep(0.01)


async def closed_post(url: str, *found: str, guard: Guard = CLOSED) -> Outcome:
    """One POST by a client of its own, for whom every name resolves to `found`."""

    async def look(name: str, port: int) -> list[str]:
        return list(found)

    client = Client(guard, deadline=5, look=look if found else None)
    try:
        return await client.post(request_to(url))
    finally:
        await client.close()


@contextmanager
def blocking(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server in a thread, for one connection after the other: asyncio's would not send alerts."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def run() -> None:
            with suppress(OSError):
                while True:
                    conn, _ = listening.accept()
                    with conn, suppress(OSError):
                        conn.settimeout(5)
                        serve(conn)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()
