"""Composition root of `cdc serve`: builds everything, starts and stops it in order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from time import monotonic
from typing import TypeVar
from urllib.parse import urlsplit

import orjson
import sqlalchemy as sa
from aiohttp import web

from cdc import stop_signals
from cdc.errors import CdcError, ConfigError
from cdc.mapping import load_mapping
from cdc.settings import Settings
from cdc.telemetry import Systemd
from cdc.telemetry.http import HealthServer
from cdc.telemetry.serve import RequestObserver
from cdc.web import bootstrap, contact_page, dispatch, keys, openapi
from cdc.web.call import Service
from cdc.web.console.portal import Portal
from cdc.web.console.signing_in import BACK, Console
from cdc.web.console.theme import load_theme
from cdc.web.keys import Key
from cdc.web.limits import SentKeys
from cdc.web.oidc import Provider
from cdc.web.pool import RequestPool
from cdc.web.problems import Problem
from cdc.web.server import (
    ApiServer,
    headers_of,
    query_of,
    read_body,
    refusal,
    request_id,
    response,
    source_of,
    tls_of,
)
from cdc.web.tally import Tally
from cdc.web.tasks import TaskWorker
from cdc.webhooks.model import Rules
from cdc.webhooks.registry import Registry
from cdc.wording import bracketed

LOOK_EVERY_S = 2.0
COUNT_EVERY_S = 5.0
TIDY_EVERY_S = 600.0
OPENAPI = "/v1/openapi.json"

T = TypeVar("T")


class ServeApp:
    """One process of `cdc serve`.

    bootstrap_key: file with a key of scope admin, made here if it is not there; None: no file.
    """

    def __init__(
        self, settings: Settings, observer: RequestObserver, bootstrap_key: Path | None = None
    ) -> None:
        self._settings = settings
        self._observer = observer
        self._bootstrap_key = bootstrap_key
        mapping = load_mapping(settings.mapping)
        pool = RequestPool(settings.database_url)
        registry = Registry(pool.engine, Rules.of(settings, mapping))
        self._tally = Tally(pool)
        self._service = Service(settings, mapping, pool, registry, self._tally)
        self._sent_keys = SentKeys()
        self._worker = TaskWorker(pool)
        self._document = orjson.dumps(openapi.document(settings.serve_url))
        # Of a proxy that serves this below a path of its own.
        self._prefix = urlsplit(settings.serve_url or "").path.rstrip("/")
        https = settings.serve_tls_cert_file is not None or (settings.serve_url or "").startswith(
            "https:"
        )
        back = f"{settings.serve_url}{BACK.lstrip('/')}"
        provider = Provider(settings, back) if settings.oidc_issuer else None
        theme = load_theme(settings.serve_theme)
        shared = (self._service, self._sent_keys, observer, self._prefix)
        self._sites = (
            Console(*shared, secure=https, theme=theme, provider=provider),
            Portal(*shared, secure=https, theme=theme, ancestors=settings.serve_frame_ancestors),
        )
        self._ready = False
        self._complained = False  # the log says why it is not ready
        self._stop = asyncio.Event()
        self._server = ApiServer(self._answer, self._malformed)
        self.port = 0

    # -- asked by the health server ---------------------------------------------------------------

    def alive(self) -> bool:
        return True

    async def ready(self) -> bool:
        return self._ready and not self._stop.is_set()

    async def page(self) -> bytes:
        metrics = self._observer.metrics
        metrics.connections.set(self._server.open)
        metrics.waiting.set(self._service.pool.waiting)
        return metrics.page()

    # -- life -------------------------------------------------------------------------------------

    def stop(self, reason: str) -> None:
        if not self._stop.is_set():
            self._observer.stopping(reason, self._server.in_flight)
            self._stop.set()

    async def run(self) -> None:
        """Serves until ``stop``. Raises ConfigError for what makes that impossible."""
        settings, systemd = self._settings, Systemd()
        runner = web.ServerRunner(self._server, shutdown_timeout=settings.stop_grace)
        await runner.setup()
        health = HealthServer(self)
        beside: list[asyncio.Task[None]] = []
        try:
            await self._listen(runner)
            if settings.http_port is not None:
                port = await health.start(settings.http_host, settings.http_port)
                self._observer.serving_health(settings.http_host, port)
            beside = [
                asyncio.create_task(self._server.end_slow_ones()),
                asyncio.create_task(self._each(LOOK_EVERY_S, self._look)),
                asyncio.create_task(self._each(1.0, self._tasks)),
                asyncio.create_task(self._each(TIDY_EVERY_S, self._tidy)),
                asyncio.create_task(self._each(COUNT_EVERY_S, self._count)),
                asyncio.create_task(systemd.watch(self.alive, lambda: "serving")),
            ]
            systemd.ready("serving")
            await self._stop.wait()
            systemd.stopping()
        finally:
            self._worker.stop()
            self._tally.stop()
            await runner.cleanup()
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            await health.stop()
            await asyncio.to_thread(self._service.pool.close)
            self._observer.stopped()

    async def _listen(self, runner: web.ServerRunner) -> None:
        settings = self._settings
        host, tls = settings.serve_host, tls_of(settings)
        try:
            await web.TCPSite(runner, host, settings.serve_port, ssl_context=tls).start()
        except OSError as error:
            raise ConfigError(
                f"cannot listen on {host} port {settings.serve_port}: {error.strerror or error}",
                "CDC_SERVE_HOST and CDC_SERVE_PORT say where the API is served.",
            ) from None
        self.port = int(runner.addresses[0][1])
        if tls is None and not settings.serve_trusted_proxies and not _loopback(host):
            self._observer.exposed_port(host)
        plain = f"http{'s' if tls else ''}://{bracketed(host)}:{self.port}/"
        self._observer.serving(settings.serve_url or plain, host, self.port)

    async def _each(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except Exception as error:  # a mistake of ours must not end it for ever
                self._observer.failed("", error)
            await asyncio.sleep(seconds)

    async def _look(self) -> None:
        """Whether the database is there, and prepared."""
        try:
            account = await self._service.pool.run(
                lambda: bootstrap.prepare(self._service.pool, self._bootstrap_key)
            )
        except (CdcError, Problem) as error:
            if not self._complained:
                self._observer.not_ready(error)
            self._ready, self._complained = False, True
            return
        if account is not None:
            self._observer.may_read_secrets(account)
        if not self._ready:
            self._observer.ready()
        self._ready, self._complained = True, False
        self._bootstrap_key = None

    async def _tasks(self) -> None:
        await self._beside("tasks", self._worker.run_once)

    async def _tidy(self) -> None:
        await self._beside("tidying", self._worker.forget_old)

    async def _count(self) -> None:
        await self._beside("counting", self._tally.run_once)

    async def _beside(self, what: str, work: Callable[[], int | None]) -> None:
        try:
            done = await asyncio.to_thread(work)
        except (CdcError, Problem) as error:
            if self._ready:
                self._observer.beside_failed(what, error)
        else:
            self._observer.metrics.tasks.inc(done or 0)

    # -- requests ---------------------------------------------------------------------------------

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        begun = monotonic()
        trusted = self._settings.serve_trusted_proxies
        number, source = request_id(request, trusted), source_of(request, trusted)
        seen = {"route": "unknown", "key": ""}
        try:
            made = await self._carried_out(request, number, source, seen)
        except Problem as problem:
            if problem.code == "unavailable":
                self._observer.unavailable(number, str(problem.__cause__ or problem))
            made = refusal(problem, number)
        except Exception as error:
            self._observer.failed(number, error)
            made = refusal(Problem("internal"), number)
        if not request.content.is_eof():
            made.force_close()  # the rest of the body is not read
        self._observer.answered(
            seen["route"],
            made.status,
            monotonic() - begun,
            request=number,
            source=source,
            key=seen["key"],
        )
        return made

    def _malformed(self, status: int, number: str, source: str) -> None:
        self._observer.answered("unknown", status, 0.0, request=number, source=source)

    async def _carried_out(
        self, request: web.BaseRequest, number: str, source: str, seen: dict[str, str]
    ) -> web.Response:
        path = self._path(request)
        if path in ("/healthz", "/readyz", OPENAPI):
            seen["route"] = f"GET {path}"
            if request.method not in ("GET", "HEAD"):
                raise Problem("method_not_allowed", headers={"Allow": "GET, HEAD"})
            return await self._open_to_all(path)
        for site in self._sites:
            if site.serves(path):
                return await site.answer(request, path, number, source, seen)
        if (link := contact_page.link_of(path)) is not None:
            seen["route"] = f"{request.method} {link.path}"
            given = (self._service, self._sent_keys, link, request.method, path, source, number)
            page = await self._service.pool.run(lambda: contact_page.answer(*given))
            return response(*page, number)
        route, params = dispatch.route_of(request.method, path)
        seen["route"] = route.name
        headers = headers_of(request)
        with self._counting(source):
            sent = dispatch.sent_key(headers)
            if (wait := self._sent_keys.wait(source, sent)) > 0:
                self._observer.key_refused()
                raise Problem("too_many_requests", headers={"Retry-After": str(int(wait) + 1)})
            whose = self._sent_keys.whose(sent)
            if not whose or not request.content.is_eof():
                whose = await self._admit(sent, seen)  # a body is waited for with a valid key alone
            try:
                query, body = query_of(request), await read_body(request)
            except Problem:
                await self._admit(sent, seen)  # without one, that is the answer
                raise
            asked = dispatch.ApiRequest(request.method, path, query, headers, body, source, number)
            named = params.get("webhook_id")
            work = partial(dispatch.carry_out, self._service, route, params, asked)
            about = int(named) if named is not None else None
            done = await self._with_key(sent, seen, work, whose, about, one_read=route.one_read)
        made = response(done.status, done.headers, done.body, number)
        if "Location" in made.headers:
            made.headers["Location"] = self._prefix + made.headers["Location"]
        return made

    @contextmanager
    def _counting(self, source: str) -> Iterator[None]:
        """Keys that are not valid."""
        try:
            yield
        except Problem as problem:
            if problem.code == "unauthorized":
                self._observer.key_refused()
                self._sent_keys.failed(source)
            raise

    async def _admit(self, sent: str, seen: dict[str, str]) -> str:
        """Whose the key is. Raises Problem for one that is not valid."""
        company = await self._with_key(sent, seen, lambda c, key: keys.company_of(c, key.scope))
        return self._sent_keys.worked(sent, company)

    async def _with_key(
        self,
        sent: str,
        seen: dict[str, str],
        work: Callable[[sa.Connection, Key], T],
        whose: str = "",
        webhook: int | None = None,
        *,
        one_read: bool = False,
    ) -> T:
        """The work, in the transaction in which the key was found to be valid. Raises Problem."""

        def noted(conn: sa.Connection, key: Key) -> T:
            seen["key"] = key.id
            return work(conn, key)

        return await self._service.pool.run(
            lambda: dispatch.with_key(self._service, sent, noted, webhook, one_read=one_read),
            whose,
        )

    async def _open_to_all(self, path: str) -> web.Response:
        if path == OPENAPI:
            return response(200, {"Content-Type": "application/json"}, self._document)
        good = path == "/healthz" or await self.ready()
        text = b"ok\n" if good else b"not ready\n"
        return response(200 if good else 503, {"Content-Type": "text/plain"}, text)

    def _path(self, request: web.BaseRequest) -> str:
        """Without what a proxy puts before, if it leaves it there."""
        path = request.rel_url.raw_path
        return path[len(self._prefix) :] if path.startswith(self._prefix + "/") else path


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def run_until_signalled(app: ServeApp) -> None:
    """Serves; SIGTERM, SIGINT and SIGHUP stop it."""
    stop_signals.call(app.stop)
    await app.run()
