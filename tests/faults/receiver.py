"""The receiver: a process of its own that costs little, records everything and misbehaves.

    python -m tests.faults.receiver FOLDER WEBHOOKS PORTS SEED

Controlled by lines of JSON on stdin; answers each with a line on stdout. What it saw goes to
FOLDER/requests.bin (`records.py`); live counts are in FOLDER/counts, shared memory (`counts.py`).
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import uvloop

from tests.faults import records
from tests.faults.counts import Counts

OK = b"HTTP/1.1 204 No Content\r\n\r\n"
FLUSH = 256 * 1024
WANTED = {b"webhook-id": 0, b"webhook-timestamp": 1, b"webhook-signature": 2, b"content-length": 3}
CHUNK = b"g" * 65_536
BURST = 16  # chunks at a time: the others are served meanwhile


class Stage:
    """What all connections share: scripts, counts, records."""

    def __init__(self, folder: Path, webhooks: int, seed: int) -> None:
        self.modes = ["ok"] * webhooks
        self.delays = [(0.05, 0.35)] * webhooks
        self.rejected: dict[int, bytes] = {}
        self.counts = Counts(folder / "counts", webhooks)
        self.random = random.Random(seed)
        self.links: set[Link] = set()
        self._taken: list[set[bytes]] = [set() for _ in range(webhooks)]
        self._file = (folder / "requests.bin").open("ab", buffering=0)
        self._buffer = bytearray()

    def record(self, request: Incoming, status: int) -> None:
        webhook = request.webhook
        self._buffer += records.pack(
            webhook,
            status,
            request.received,
            time.monotonic(),
            request.timestamp,
            request.uid,
            request.signature,
            request.body,
        )
        if len(self._buffer) > FLUSH:
            self.flush()
        self.counts.ended(webhook)
        if 200 <= status < 300 and request.uid not in self._taken[webhook]:
            self._taken[webhook].add(request.uid)
            self.counts.taken(webhook)

    def flush(self) -> None:
        self._file.write(self._buffer)
        self._buffer.clear()


class Incoming:
    """A request in flight."""

    __slots__ = ("body", "received", "signature", "timestamp", "uid", "webhook")

    def __init__(self, head: bytes, body: bytes, fields: list[bytes]) -> None:
        self.received = time.monotonic()
        self.webhook = int(head[6 : head.index(b" ", 6)])
        self.uid, stamp, self.signature, _ = fields
        self.timestamp = int(stamp or 0)
        self.body = body


class Link(asyncio.Protocol):
    """One connection; the peer sends one request at a time."""

    def __init__(self, stage: Stage, port: int) -> None:
        self.stage = stage
        self.port = port
        self._data = b""
        self._request: Incoming | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._flooding = False
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.stage.links.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._flooding = False
        self.stage.links.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        self._end(0)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._flood()

    def data_received(self, data: bytes) -> None:
        self._data += data
        while self._request is None:
            end = self._data.find(b"\r\n\r\n")
            if end < 0:
                return
            fields = [b"", b"", b"", b"0"]
            for line in self._data[:end].split(b"\r\n")[1:]:
                name, _, value = line.partition(b":")
                place = WANTED.get(name.lower())
                if place is not None:
                    fields[place] = value.strip()
            size = end + 4 + int(fields[3])
            if len(self._data) < size:
                return
            request = Incoming(self._data[:end], self._data[end + 4 : size], fields)
            self._data = self._data[size:]
            self._take(request)

    def _take(self, request: Incoming) -> None:
        stage, webhook = self.stage, request.webhook
        self._request = request
        stage.counts.began(webhook)
        mode = stage.modes[webhook]
        refused = stage.rejected.get(webhook)
        if mode == "ok" and refused is not None and request.body.endswith(refused):
            mode = "error"
        wait = stage.random.uniform(*stage.delays[webhook])
        self._timer = asyncio.get_running_loop().call_later(wait, MODES[mode], self)

    def _end(self, status: int) -> None:
        request, self._request = self._request, None
        if request is not None:
            self.stage.record(request, status)

    # -- how it answers ---------------------------------------------------------------------------

    def ok(self) -> None:
        self.transport.write(OK)
        self._end(204)
        if self._data:
            self.data_received(b"")

    def error(self) -> None:
        status = self.stage.random.choice((500, 500, 404, 502, 503, 429))
        text = b"HTTP/1.1 %d Oh\r\nContent-Length: 2\r\nRetry-After: 1\r\n\r\noh" % status
        self.transport.write(text)
        self._end(status)

    def hang(self) -> None:
        """Nothing is answered until the peer goes."""

    def drip(self) -> None:
        self.transport.write(b"HTTP/1.1 200 OK\r\n")
        self._drop()

    def _drop(self) -> None:
        self.transport.write(b"X-Drip: 1\r\n")
        self._timer = asyncio.get_running_loop().call_later(0.05, self._drop)

    def reset(self) -> None:
        # A linger time of zero makes closing a reset.
        sock = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def half(self) -> None:
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        self.transport.close()

    def garbage(self) -> None:
        self.transport.write(b"\x16\x03\x01\x00\xff\x00\x01garbage\x00\r\n\r\n")
        self.transport.close()

    def gigabytes(self) -> None:
        self.transport.write(b"HTTP/1.1 500 Oh\r\nContent-Length: 9999999999\r\n\r\n")
        self._flooding = True
        self._flood()

    def _flood(self) -> None:
        for _ in range(BURST):
            if not self._flooding or self._paused or self.transport.is_closing():
                return
            self.transport.write(CHUNK)
        asyncio.get_running_loop().call_soon(self._flood)


MODES: dict[str, Callable[[Link], None]] = {
    "ok": Link.ok,
    "error": Link.error,
    "hang": Link.hang,
    "drip": Link.drip,
    "reset": Link.reset,
    "half": Link.half,
    "garbage": Link.garbage,
    "gigabytes": Link.gigabytes,
}
BAD_MODES = tuple(mode for mode in MODES if mode != "ok")


class Server:
    """The ports, and what can be ordered."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.ports: list[int] = []
        self._servers: dict[int, asyncio.Server] = {}
        # A port that refuses stays ours: otherwise another program's connection may get it.
        self._held: list[socket.socket] = []

    async def listen(self, port: int = 0) -> None:
        loop = asyncio.get_running_loop()
        sock = _bound(port)
        if not port:
            port = sock.getsockname()[1]
            self._held.append(_bound(port))
        self._servers[port] = await loop.create_server(
            lambda: Link(self.stage, port), sock=sock, backlog=2048
        )

    async def obey(self, order: dict[str, Any]) -> object:
        """One order; returns its answer."""
        match order["do"]:
            case "mode":
                for webhook in order["webhooks"]:
                    self.stage.modes[webhook] = order["mode"]
            case "delay":
                for webhook in order["webhooks"]:
                    self.stage.delays[webhook] = (order["low"], order["high"])
            case "reject":
                self.stage.rejected[order["webhook"]] = order["ending"].encode()
            case "refuse":
                self._servers.pop(order["port"]).close()
                for link in [link for link in self.stage.links if link.port == order["port"]]:
                    link.transport.abort()
            case "accept":
                await self.listen(order["port"])
            case "flush":
                self.stage.flush()
            case other:
                raise ValueError(f"no such order: {other}")
        return "done"

    async def run(self, ports: int) -> None:
        asyncio.get_running_loop().set_exception_handler(_give_up)
        for _ in range(ports):
            await self.listen()
        print(json.dumps(list(self._servers)), flush=True)
        orders = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(orders), sys.stdin
        )
        while line := await orders.readline():
            print(json.dumps(await self.obey(json.loads(line))), flush=True)
        self.stage.flush()


def _bound(port: int) -> socket.socket:
    sock = socket.socket()
    for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
        sock.setsockopt(socket.SOL_SOCKET, option, 1)
    sock.bind(("127.0.0.1", port))
    return sock


def _give_up(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A defect here would look like one of what is tested."""
    loop.default_exception_handler(context)
    os._exit(1)


def main() -> None:
    folder, webhooks, ports, seed = sys.argv[1:]
    stage = Stage(Path(folder), int(webhooks), int(seed))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(Server(stage).run(int(ports)))


if __name__ == "__main__":
    main()
