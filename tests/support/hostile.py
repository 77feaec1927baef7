"""Receivers that misbehave, on raw sockets: each is one function, scripted to the byte.

async with Hostile(hang) as peer:
    outcome = await client.post(request_to(peer.url("/hook")))
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Iterator
from weakref import WeakKeyDictionary

from tests.support.served import Served

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


# Where read_request notes what it read; behaviours get nothing but reader and writer.
_peers: WeakKeyDictionary[asyncio.StreamReader, Hostile] = WeakKeyDictionary()


class Hostile(Served):
    """Serves one behaviour to each connection until the block ends.

    requests:    what ``read_request`` has read, over all connections, in order.
    connections: how many were accepted.
    asked:       set as soon as a request was read.
    gone:        set as soon as a client has closed a connection.
    """

    def __init__(
        self,
        behaviour: Behaviour,
        host: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
        port: int = 0,
    ) -> None:
        super().__init__(host, port, tls)
        self._behaviour = behaviour
        self.requests: list[bytes] = []
        self.connections = 0
        self.asked = asyncio.Event()
        self.gone = asyncio.Event()

    def url(self, path: str = "/hook", name: str | None = None) -> str:
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://{name or self._host}:{self.port}{path}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        _peers[reader] = self
        try:
            await self._behaviour(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            self.gone.set()
        except RuntimeError:
            # How uvloop says that a connection has ended, when it is written to.
            if not writer.is_closing():
                raise
            self.gone.set()
        except asyncio.CancelledError:
            pass  # the block has ended
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError, asyncio.CancelledError):
                await writer.wait_closed()


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """One whole request; IncompleteReadError when the client has gone."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    request = head + await reader.readexactly(length)
    _peers[reader].requests.append(request)
    _peers[reader].asked.set()
    return request


def says(answer: bytes) -> Behaviour:
    """Answers these bytes and closes."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(answer)
        await writer.drain()

    return behave


def keeps_saying(answer: bytes) -> Behaviour:
    """Answers these bytes to each request, and keeps the connection."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(answer)
            await writer.drain()

    return behave


def repeats(head: bytes, piece: bytes, pause: float | None = None) -> Behaviour:
    """Answers a head, then a piece again and again for ever; a pause (seconds) makes it drip."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(head)
        while True:
            writer.write(piece)
            await writer.drain()
            if pause is not None:
                await asyncio.sleep(pause)

    return behave


def resets_after(answer: bytes) -> Behaviour:
    """Answers these bytes, then the connection is reset, not closed."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(answer)
        await writer.drain()
        abort(writer)

    return behave


def abort(writer: asyncio.StreamWriter) -> None:
    """Reset the connection (a linger time of zero makes closing a reset)."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def stops_after(answer: bytes) -> Behaviour:
    """Answers these bytes, then nothing more, on an open connection."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(answer)
        await reader.readexactly(1)  # until the client goes

    return behave


hang = stops_after(b"")
"""Reads the request and never answers."""

drip_headers = repeats(b"HTTP/1.1 200 OK\r\n", b"X-Drip: 1\r\n", 0.01)
drip_body = repeats(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b".", 0.01)
endless_headers = repeats(b"HTTP/1.1 200 OK\r\n", b"X-More: " + b"m" * 1000 + b"\r\n")
endless_line = repeats(b"HTTP/1.1 200 OK\r\nX-Line: ", b"l" * 10_000)
endless_interim = repeats(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)
endless_extension = repeats(
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"e" * 10_000
)
gigabytes = repeats(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n", b"g" * 65_536)
gigabytes_chunked = repeats(
    b"HTTP/1.1 500 Oh\r\nTransfer-Encoding: chunked\r\n\r\n", b"1000\r\n" + b"c" * 4096 + b"\r\n"
)
http09 = says(b"<html>hello, this is HTTP/0.9</html>\n")
garbage = says(b"\x16\x03\x01\x00\xff\x00\x01garbage\x00\r\n\r\n")


def gzip_bomb(size: int = 50_000_000) -> Behaviour:
    """Some ten kilobytes that want to become fifty megabytes."""
    bomb = gzip.compress(b"\0" * size)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    return says(head + bomb)


@contextlib.contextmanager
def refusing_port() -> Iterator[int]:
    """A port of 127.0.0.1 that refuses connections for as long as the block lasts."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound but not listening: refused, and not in use
        yield held.getsockname()[1]
