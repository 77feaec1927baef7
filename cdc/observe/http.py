"""Health and metrics over HTTP: /healthz (it gets on), /readyz (looking), /metrics (Prometheus)."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from aiohttp import web

from cdc.errors import ConfigError

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


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
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int) -> int:
        """Listens; returns the port. Raises ConfigError when the port cannot be had."""
        runner = await self._open()
        try:
            await web.TCPSite(runner, host, port).start()
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

    async def _open(self) -> web.AppRunner:
        app = web.Application()
        app.add_routes(
            [
                web.get("/healthz", self._alive),
                web.get("/readyz", self._ready),
                web.get("/metrics", self._page),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        return self._runner

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _alive(self, _: web.Request) -> web.Response:
        alive = self._source.alive()
        return web.Response(text="alive\n" if alive else "stuck\n", status=200 if alive else 503)

    async def _ready(self, _: web.Request) -> web.Response:
        ready = await self._source.ready()
        return web.Response(
            text="ready\n" if ready else "not ready\n", status=200 if ready else 503
        )

    async def _page(self, _: web.Request) -> web.Response:
        page = await self._source.page()
        return web.Response(body=page, headers={"Content-Type": CONTENT_TYPE})
