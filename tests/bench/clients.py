"""HTTP clients against each other: the same bytes to the same receiver, which costs almost nothing.

    python -m tests.bench.clients [--requests 20000] [--rounds 5] [--json]

aiohttp: its client, bare. ours: cdc.deliver.Client. socket: no client at all, bytes written and
answers awaited on a bare protocol; what the event loop and the kernel leave over. Each first finds
its best concurrency, then all take turns. CPU is that of this process: per core means what
one core would do if nothing else were in its way.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from ipaddress import ip_network
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

import aiohttp
import uvloop

from cdc.deliver import Client, Guard
from cdc.deliver.trust import Files, Trust
from cdc.message.signing import OURS, header_lines
from cdc.model import Answer, Request
from tests.bench.kit import arguments
from tests.bench.load.receiver import ANSWER
from tests.bench.target import Target

CONCURRENCY = (1, 8, 32, 128)
SIGNED = (
    ("webhook-id", "0f6ae0b3-5c0d-4a58-9d1c-6a3a2f3e9b57"),
    ("webhook-timestamp", "1426519955"),
    ("webhook-signature", "v1,0e/xKeJhbYbuNL7iz6FQLh73KT3yCYGNethi+2nSKxk="),
)
BODY = (
    b'{"endpoint": "https://abc.com/project", "time": "2015-03-16T15:32:34.174752+00:00", '
    b'"event": "project_changed", "data": {"action": "modified", '
    b'"project": "https://interview-suite.com/api/v3/companies/1/projects/17/"}}'
)


class Run(NamedTuple):
    """requests: per second. cpu: microseconds of this process per request."""

    requests: float
    cpu: float


Post = Callable[[], Awaitable[None]]


async def timed(work: Awaitable[None], count: int) -> Run:
    wall, cpu = time.perf_counter(), time.process_time()
    await work
    return Run(
        count / (time.perf_counter() - wall), (time.process_time() - cpu) / count * 1_000_000
    )


async def share(post: Post, count: int, concurrency: int) -> None:
    async def some() -> None:
        for _ in range(count // concurrency):
            await post()

    await asyncio.gather(*(some() for _ in range(concurrency)))


async def by_aiohttp(url: str, ca_file: Path, count: int, concurrency: int) -> Run:
    connector = aiohttp.TCPConnector(limit=0, ssl=ssl.create_default_context(cafile=ca_file))
    headers = (*OURS, *SIGNED)
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=15),
        auto_decompress=False,
    ) as session:

        async def post() -> None:
            async with session.post(
                url, data=BODY, headers=headers, allow_redirects=False
            ) as response:
                await response.read()
                assert response.status == 200

        await share(post, concurrency * 5, concurrency)
        return await timed(share(post, count, concurrency), count)


async def by_ours(url: str, ca_file: Path, count: int, concurrency: int) -> Run:
    guard = Guard([ip_network("127.0.0.0/8")], allow_http=True)
    client = Client(guard, trust=Trust(Files(ca_file)))
    head = header_lines((*OURS, *SIGNED))

    async def post() -> None:
        outcome = await client.post(Request(url, head, BODY))
        assert outcome.answer is Answer.SUCCESS

    await share(post, concurrency * 5, concurrency)
    try:
        return await timed(share(post, count, concurrency), count)
    finally:
        await client.close()


class _Bare(asyncio.Protocol):
    """Writes a request as soon as the answer to the one before is there."""

    def __init__(self, message: bytes) -> None:
        self._message = message
        self._left = self._came = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._came += len(data)
        if self._came < len(ANSWER):
            return
        self._came = 0
        self._left -= 1
        if self._left:
            self.transport.write(self._message)
        else:
            self.done.set_result(None)

    async def run(self, count: int) -> None:
        self._left = count
        self.done = asyncio.get_running_loop().create_future()
        self.transport.write(self._message)
        await self.done


async def by_socket(url: str, ca_file: Path, count: int, concurrency: int) -> Run:
    loop = asyncio.get_running_loop()
    target = urlsplit(url)
    assert target.hostname is not None
    assert target.port is not None
    context = ssl.create_default_context(cafile=ca_file) if target.scheme == "https" else None
    message = (
        f"POST {target.path} HTTP/1.1\r\nHost: {target.netloc}\r\n".encode()
        + header_lines((*OURS, *SIGNED))
        + b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
    )
    made = []
    for _ in range(concurrency):
        _, bare = await loop.create_connection(
            lambda: _Bare(message), target.hostname, target.port, ssl=context
        )
        made.append(bare)

    async def all_of(each: int) -> None:
        await asyncio.gather(*(one.run(each) for one in made))

    await all_of(5)
    try:
        return await timed(all_of(count // concurrency), count)
    finally:
        for one in made:
            one.transport.abort()
        await asyncio.sleep(0)


CLIENTS = {"aiohttp": by_aiohttp, "ours": by_ours, "socket": by_socket}


def compare(url: str, ca_file: Path, count: int, rounds: int) -> dict[str, Any]:
    """Figures of each client at one address."""

    def run(name: str, concurrency: int, count: int) -> Run:
        each = max(1, count // concurrency)
        return uvloop.run(CLIENTS[name](url, ca_file, each * concurrency, concurrency))

    best = {
        name: min(CONCURRENCY, key=lambda number: run(name, number, count // 4).cpu)
        for name in CLIENTS
    }
    runs: dict[str, list[Run]] = {name: [] for name in CLIENTS}
    for _ in range(rounds):
        for name in CLIENTS:
            runs[name].append(run(name, best[name], count))
    cpu = {name: statistics.median(one.cpu for one in some) for name, some in runs.items()}
    rate = {name: statistics.median(one.requests for one in some) for name, some in runs.items()}
    return {
        name: {
            "concurrency": best[name],
            "requests_per_second": round(rate[name]),
            "cpu_us": round(cpu[name], 1),
            "cpu_us_of_runs": [round(one.cpu, 1) for one in runs[name]],
            "per_core": round(1_000_000 / cpu[name]),
            "times_aiohttp": round(cpu["aiohttp"] / cpu[name], 2),
        }
        for name in CLIENTS
    }


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--requests", type=int, default=20_000, help="of one run")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with TemporaryDirectory() as folder, Target(Path(folder)) as target:
        result = {
            kind: compare(target.url(1, tls=tls), target.ca_file, args.requests, args.rounds)
            for kind, tls in (("plain", False), ("tls", True))
        }
    if args.json:
        print(json.dumps(result))
        return 0
    titles = ("concurrency", "requests/s", "CPU us", "per core", "x aiohttp")
    print(f"{'':14}" + "".join(f"{title:>12}" for title in titles))
    for kind, clients in result.items():
        for name, got in clients.items():
            cells = (
                got["concurrency"],
                f"{got['requests_per_second']:,}",
                got["cpu_us"],
                f"{got['per_core']:,}",
                got["times_aiohttp"],
            )
            print(f"{kind:6}{name:8}" + "".join(f"{cell:>12}" for cell in cells))
    return 0


if __name__ == "__main__":
    sys.exit(main())
