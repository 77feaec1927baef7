"""The seam: a request goes in, an outcome comes out. A bad receiver is a value, no exception.

Inside is aiohttp. Whoever exchanges it keeps ``Client.post`` and ``Client.close`` and the tests.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
import time
from pathlib import Path

import aiohttp
from yarl import URL

from cdc.deliver import outcome, wire
from cdc.deliver import url as urls
from cdc.deliver.dns import AT_ONCE, Lookup, lookup
from cdc.deliver.guard import Guard
from cdc.errors import ConfigError
from cdc.road import Outcome, Request

_NO_CEIL = 1e9  # aiohttp rounds limits above this up to whole seconds; ours are exact


class Client:
    """Delivers over HTTP; one serves all webhooks of a daemon.

    guard:           asked about each address dialled.
    deadline:        seconds for a whole attempt: connecting, headers, body.
    connect_timeout: seconds until a connection stands (name, TCP, TLS).
    ca_file:         certificates to trust in addition to the system's, PEM.
    keepalive:       seconds an idle connection is kept.
    retry_after_cap: the most seconds a receiver's Retry-After is believed.
    answer_limit:    bytes read of an answer's body; the status counts, the rest is not wanted.
    excerpt_limit:   bytes of it that are kept for people, 1 KiB at most.
    look:            how names are looked up.

    Raises ConfigError if the CA file cannot be read.
    """

    def __init__(
        self,
        guard: Guard,
        *,
        deadline: float = 15.0,
        connect_timeout: float = 5.0,
        ca_file: Path | None = None,
        keepalive: float = 15.0,
        retry_after_cap: float = outcome.RETRY_AFTER_CAP,
        answer_limit: int = 64 * 1024,
        excerpt_limit: int = outcome.EXCERPT,
        look: Lookup | None = None,
    ) -> None:
        self._guard = guard
        self._deadline = deadline
        self._connect_timeout = connect_timeout
        self._keepalive = keepalive
        self._cap = retry_after_cap
        self._answer_limit = answer_limit
        self._excerpt_limit = excerpt_limit
        self._ssl = _trust(ca_file)
        # The name server gets a little less than connecting as a whole, so that the detail tells
        # which of the two it was.
        gate = asyncio.Semaphore(AT_ONCE)
        self._look = look or functools.partial(lookup, limit=connect_timeout * 0.8, gate=gate)
        self._session: aiohttp.ClientSession | None = None
        self._closed = False
        # One entry for each endpoint in use; bounded, because anybody may register new ones.
        self._target = functools.lru_cache(maxsize=20_000)(self._prepare)

    async def post(self, request: Request) -> Outcome:
        """Send one request; never raises for what a receiver does.

        Cancelling passes through and closes the connection. If a kept connection ends at once and
        without a byte of an answer, it had most likely been closed for idleness while we wrote:
        then, and only then, the request goes out a second time within the same attempt, on a
        new connection.
        """
        if self._closed:
            raise RuntimeError("the client is closed")
        started = time.perf_counter()
        host = ""
        attempt = wire.Attempt()
        try:
            url, host = self._target(request.url)
            async with asyncio.timeout(self._deadline):
                status, wait, body = await self._exchange(url, request, attempt)
        except Exception as error:
            elapsed = time.perf_counter() - started
            if attempt.wire is None:
                return outcome.failed(error, host, elapsed, "connection")
            # Where we have cut it ourselves, aiohttp only tells that it ended.
            return outcome.failed(attempt.wire.cut or error, host, elapsed, "complete answer")
        excerpt = outcome.excerpt(body, request, self._excerpt_limit)
        pause = None if wait is None else outcome.retry_after(wait, time.time(), self._cap)
        return outcome.answered(status, time.perf_counter() - started, excerpt, pause)

    async def _exchange(
        self, url: URL, request: Request, attempt: wire.Attempt
    ) -> tuple[int, str | None, bytes]:
        """Status, Retry-After and the body's beginning."""
        try:
            response = await self._send(url, request, attempt)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            if attempt.wire is None or not attempt.wire.ended_idle():
                raise
            attempt.fresh, attempt.wire = True, None
            response = await self._send(url, request, attempt)
        try:
            body = await _read(response, self._answer_limit)
        except BaseException:
            response.close()
            raise
        return response.status, response.headers.get("Retry-After"), body

    async def _send(
        self, url: URL, request: Request, attempt: wire.Attempt
    ) -> aiohttp.ClientResponse:
        session = self._session or self._open()
        token = wire.current.set(attempt)
        try:
            return await session.post(
                url, data=request.body, headers=request.headers, allow_redirects=False
            )
        finally:
            wire.current.reset(token)

    def _prepare(self, endpoint: str) -> tuple[URL, str]:
        """The URL as aiohttp wants it, and what to call it; raises what the guard raises.

        Asked again here, though registration did: settings change, and rows can be imported.
        """
        self._guard.check_url(endpoint)
        target = urls.parse(endpoint)
        name = f"[{target.host}]" if ":" in target.host else target.host
        # encoded: what is registered is sent as it stands.
        return URL(endpoint, encoded=True), f"{name}:{target.port}"

    def _open(self) -> aiohttp.ClientSession:
        connector = wire.Connector(self._guard, self._look, self._ssl, self._keepalive)
        self._session = aiohttp.ClientSession(
            connector=connector,
            request_class=_OnlyOurHeaders,
            timeout=aiohttp.ClientTimeout(
                total=None, connect=self._connect_timeout, ceil_threshold=_NO_CEIL
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,  # no proxy and no .netrc because somebody's shell had one
            auto_decompress=False,  # an excerpt is not worth a decompression bomb
            max_line_size=8190,
            max_field_size=8190,
            max_headers=100,
        )
        return self._session

    async def close(self) -> None:
        """Close all connections; what is under way ends as reset."""
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()


class _OnlyOurHeaders(aiohttp.ClientRequest):
    """A request without the headers that aiohttp would add: the protocol names ours."""

    DEFAULT_HEADERS = {}  # noqa: RUF012 - the parent's form, and never written to


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """At most ``limit`` bytes of the body; a longer one costs its connection."""
    if response.status == 101:
        response.close()  # we have asked for no other protocol, and there is no body to wait for
        return b""
    content = response.content
    body = await content.readany()
    while len(body) < limit:
        more = await content.readany()
        if not more:
            return body
        body += more
    if not content.at_eof():
        response.close()
    return body[:limit]


def _trust(ca_file: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_file is not None:
        try:
            context.load_verify_locations(ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"the CA file {ca_file} cannot be used: {error.strerror or error}",
                "It must be readable and hold certificates in PEM form.",
            ) from error
    return context
