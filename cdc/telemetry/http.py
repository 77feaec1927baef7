"""Health and metrics over HTTP: /healthz (it gets on), /readyz (looking), /metrics (Prometheus)."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, Generic, Protocol, TypeVar

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from cdc.errors import ConfigError

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

HEALTH_CONNECTIONS = 32
"""Connections of clients; there are few, each for a moment."""

ACCEPT_BACKLOG = 16

PAGES_PER_S = 10
"""Requests per second that are computed; above that limit the last response is served again."""

T = TypeVar("T")


def _is_ours(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError)


HTTP_LOG = logging.getLogger("cdc.http")
"""For servers: complains of what goes wrong in here, and not of what peers send, who could write
into the log whatever they like, without end."""
HTTP_LOG.addFilter(_is_ours)

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class BoundedServer(web.Server):
    """Of too many connections the oldest ends.

    Otherwise a client that connects and says nothing takes all descriptors of the process, and no
    webhook can be called any more.
    """

    def __init__(self, handler: Handler) -> None:
        super().__init__(handler, access_log=None, logger=HTTP_LOG)

    def connection_made(self, handler: Any, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        for oldest in self.connections[:-HEALTH_CONNECTIONS]:
            oldest.force_close()


class Source(Protocol):
    """Who is asked: a daemon's metrics, or the parent of several daemons."""

    def alive(self) -> bool:
        """It makes progress; False: restart it."""
        ...

    async def ready(self) -> bool:
        """Connected, and looks are answered."""
        ...

    async def page(self) -> bytes:
        """The text format of Prometheus."""
        ...


class _Sparing(Generic[T]):
    """Asks so often a second at most: an answer takes the loop some milliseconds, which are the
    deliveries', and of a parent it is a question to each of its processes."""

    def __init__(self, ask: Callable[[], Awaitable[T]]) -> None:
        self._ask = ask
        self._asked: deque[float] = deque(maxlen=PAGES_PER_S)
        self._last: list[T] = []
        self._one_by_one = asyncio.Lock()

    async def __call__(self) -> T:
        async with self._one_by_one:
            spent = len(self._asked) == PAGES_PER_S and monotonic() - self._asked[0] < 1.0
            if not spent or not self._last:
                self._asked.append(monotonic())
                self._last = [await self._ask()]
            return self._last[0]


class HealthServer:
    """Serves until ``stop()``; on loopback unless configured otherwise."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._ready = _Sparing(source.ready)
        self._page = _Sparing(source.page)
        self._runner: web.ServerRunner | None = None

    async def start(self, host: str, port: int) -> int:
        """Listens; returns the port. Raises ConfigError when the port cannot be had."""
        runner = await self.open()
        try:
            await web.TCPSite(runner, host, port, backlog=ACCEPT_BACKLOG).start()
        except OSError as error:
            await runner.cleanup()
            raise ConfigError(
                f"cannot listen on {host} port {port}: {error.strerror or error}",
                "CDC_HTTP_HOST and CDC_HTTP_PORT say where health and metrics are served.",
            ) from None
        return int(runner.addresses[0][1])

    async def take(self, conn: socket.socket) -> None:
        """Answers on a connection that came another way than by listening."""
        server = self._runner.server if self._runner is not None else None
        if server is None:
            conn.close()
            return
        await asyncio.get_running_loop().connect_accepted_socket(server, conn)

    async def open(self) -> web.ServerRunner:
        """Ready to ``take`` connections."""
        self._runner = web.ServerRunner(BoundedServer(self._answer), access_log=None)
        await self._runner.setup()
        return self._runner

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        if request.method not in ("GET", "HEAD"):
            return web.Response(status=405, headers={"Allow": "GET, HEAD"})
        match request.path:
            case "/healthz":
                return _answer(self._source.alive(), "alive", "stuck")
            case "/readyz":
                return _answer(await self._ready(), "ready", "not ready")
            case "/metrics":
                page = await self._page()
                return web.Response(body=page, headers={"Content-Type": CONTENT_TYPE})
            case _:
                return web.Response(status=404)


def _answer(good: bool, yes: str, no: str) -> web.Response:
    return web.Response(text=f"{yes if good else no}\n", status=200 if good else 503)
