"""The receiver's process: as much HTTP as separates requests, and the time of each.

    python -m tests.bench.load.receiver < {"socket": "...", "folder": "..."}

It is faster than any sender: one search or two in each request, one record of fixed size, no
verification. A request is received when its last byte was read. Answers of what came together go
out together, in order, so pipelining is safe. The measuring process asks it over a Unix socket.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import struct
import sys
import time
from pathlib import Path
from typing import cast

import uvloop

RECORD = struct.Struct("<qqq36s")
"""When it was received (nanoseconds), at which hook, which key, which webhook-id."""

ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: bench\r\nDate: Mon, 16 Mar 2015 15:32:35 GMT\r\n"
    b"Content-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
)
# A body ends with the address of its resource, so with the key: ... /candidates/19/"}}
END = len(b'/"}}')


class Desk:
    """What all connections share.

    records: of what came, since a clean one was asked for.
    delay:   seconds that an answer takes.
    """

    def __init__(self) -> None:
        self.records = bytearray()
        self.delay = 0.0


class Counter(asyncio.Protocol):
    """One connection of a sender."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        if self._rest:
            data = self._rest + data
        desk = self._desk
        answers = start = 0
        while (head := data.find(b"\r\n\r\n", start)) >= 0:
            at = data.find(b"ontent-Length: ", start, head) + 15
            length = int(data[at : data.find(b"\r\n", at)]) if at > 14 else 0
            end = head + 4 + length
            if end > len(data):
                break
            at = data.find(b"webhook-id: ", start, head) + 12
            uid = data[at : at + 36] if at > 11 else b""
            hook = int(data[start + 6 : data.find(b" ", start + 6)])
            key = int(data[data.rfind(b"/", start, end - END) + 1 : end - END])
            desk.records += RECORD.pack(now, hook, key, uid)
            answers += 1
            start = end
        self._rest = data[start:]
        if not answers:
            return
        if desk.delay:
            asyncio.get_running_loop().call_later(desk.delay, self._answer, answers)
        else:
            self._transport.write(ANSWER * answers)

    def _answer(self, answers: int) -> None:
        if not self._transport.is_closing():
            self._transport.write(ANSWER * answers)


async def _asked(desk: Desk, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Commands, a line each: ``clear``, ``count``, ``records``, ``delay SECONDS``."""
    while line := await reader.readline():
        command, *rest = line.split()
        answer = b""
        match command:
            case b"clear":
                desk.records = bytearray()
            case b"delay":
                desk.delay = float(rest[0])
            case b"count":
                answer = str(len(desk.records) // RECORD.size).encode()
            case b"records":
                answer = bytes(desk.records)
        writer.write(len(answer).to_bytes(8, "little") + answer)
        await writer.drain()
    writer.close()


async def _serve(socket: str, folder: Path) -> None:
    desk = Desk()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    loop = asyncio.get_running_loop()
    plain = await loop.create_server(lambda: Counter(desk), "127.0.0.1", 0, backlog=4096)
    tls = await loop.create_server(lambda: Counter(desk), "127.0.0.1", 0, backlog=4096, ssl=context)
    await asyncio.start_unix_server(lambda r, w: _asked(desk, r, w), socket)
    print(json.dumps([s.sockets[0].getsockname()[1] for s in (plain, tls)]), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    given = json.loads(sys.stdin.readline())
    uvloop.run(_serve(given["socket"], Path(given["folder"])))
