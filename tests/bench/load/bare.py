"""Baselines without any database: what a client alone makes of the same bytes.

    python -m tests.bench.load.bare < {"kind": "aiohttp", "base": "http://127.0.0.1:1/", ...}

aiohttp: its client, bare.   socket: bytes written and answers awaited on a bare protocol; what the
event loop and the kernel leave over. All messages are made before the time begins.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

import aiohttp
import orjson
import uvloop

from tests.bench.load import wire
from tests.bench.load.receiver import ANSWER

KINDS = ("aiohttp", "socket")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be sent.

    base: the receiver's address.  hooks: over how many paths.  count: requests.
    connections: requests in flight at once.  ca_file: what to trust, for https.
    """

    kind: str
    base: str
    hooks: int
    count: int
    connections: int
    ca_file: str

    def context(self) -> ssl.SSLContext | None:
        if not self.base.startswith("https:"):
            return None
        return ssl.create_default_context(cafile=self.ca_file)


async def by_aiohttp(plan: Plan) -> None:
    connector = aiohttp.TCPConnector(limit=0, ssl=plan.context() or True)
    posts = []
    for key in range(1, plan.count + 1):
        hook = wire.hook_of(key, plan.hooks)
        posts.append((f"{plan.base}{hook}", wire.body(plan.base, hook, key)))
    left = iter(posts)
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=15),
        auto_decompress=False,
    ) as session:

        async def some() -> None:
            for url, content in left:
                async with session.post(
                    url, data=content, headers=wire.HEADERS, allow_redirects=False
                ) as response:
                    await response.read()
                    assert response.status == 200

        await asyncio.gather(*(some() for _ in range(plan.connections)))


class _Bare(asyncio.Protocol):
    """Writes the next request as soon as the answer to the one before is there."""

    def __init__(self, left: Iterator[bytes]) -> None:
        self._left = left
        self._came = 0
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._came += len(data)
        if self._came < len(ANSWER):
            return
        self._came = 0
        self.next()

    def next(self) -> None:
        if (message := next(self._left, None)) is not None:
            self.transport.write(message)
        else:
            self.done.set_result(None)


async def by_socket(plan: Plan) -> None:
    loop = asyncio.get_running_loop()
    target = urlsplit(plan.base)
    assert target.hostname is not None
    assert target.port is not None
    host, port = target.hostname, target.port
    left = iter(
        [
            wire.message(plan.base, wire.hook_of(key, plan.hooks), key)
            for key in range(1, plan.count + 1)
        ]
    )
    context = plan.context()
    made = [
        (await loop.create_connection(lambda: _Bare(left), host, port, ssl=context))[1]
        for _ in range(plan.connections)
    ]
    for one in made:
        one.next()
    await asyncio.gather(*(one.done for one in made))
    for one in made:
        one.transport.abort()


if __name__ == "__main__":
    given = Plan(**orjson.loads(sys.stdin.readline()))
    uvloop.run(by_aiohttp(given) if given.kind == "aiohttp" else by_socket(given))
