"""Health and metrics over HTTP: /healthz (it gets on), /readyz (looking), /metrics (Prometheus)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

from aiohttp import web

from cdc.errors import ConfigError

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

MOST_OPEN = 32
"""Connections of those who ask; few do, each for a moment."""

BACKLOG = 16

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class BoundedServer(web.Server):
    """Of too many connections the oldest ends.

    Otherwise whoever may connect, and says nothing, takes all descriptors of the process, and no
    webhook can be called any more.
    """

    def __init__(self, handler: Handler) -> None:
        super().__init__(handler, access_log=None)

    def connection_made(self, handler: Any, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        for oldest in self.connections[:-MOST_OPEN]:
            oldest.force_close()


class Source(Protocol):
    """Who is asked: a daemon's metrics, or the parent of several daemons."""

    def alive(self) -> bool:
        """It gets on; False: start it anew."""
        ...

    async def ready(self) -> bool:
        """Connected, and looks are answered."""
        ...

    async def page(self) -> bytes:
        """The text format of Prometheus."""
        ...


class HealthServer:
    """Serves until ``stop()``; on loopback unless configured otherwise."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._runner: web.ServerRunner | None = None

    async def start(self, host: str, port: int) -> int:
        """Listens; returns the port. Raises ConfigError when the port cannot be had."""
        runner = await self._open()
        try:
            await web.TCPSite(runner, host, port, backlog=BACKLOG).start()
        except OSError as error:
            await runner.cleanup()
            raise ConfigError(
                f"cannot listen on {host} port {port}: {error.strerror or error}",
                "CDC_HTTP_HOST and CDC_HTTP_PORT say where health and metrics are served.",
            ) from None
        return int(runner.addresses[0][1])

    async def start_at(self, socket: Path) -> None:
        """Listens on a Unix socket."""
        await web.UnixSite(await self._open(), socket).start()

    async def _open(self) -> web.ServerRunner:
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
                return _told(self._source.alive(), "alive", "stuck")
            case "/readyz":
                return _told(await self._source.ready(), "ready", "not ready")
            case "/metrics":
                page = await self._source.page()
                return web.Response(body=page, headers={"Content-Type": CONTENT_TYPE})
            case _:
                return web.Response(status=404)


def _told(good: bool, yes: str, no: str) -> web.Response:
    return web.Response(text=f"{yes if good else no}\n", status=200 if good else 503)
