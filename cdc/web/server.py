"""Connections: what is read of a request, how long it may take, from where it comes."""

from __future__ import annotations

import asyncio
import re
import ssl
import uuid
from collections.abc import Awaitable, Callable, Mapping
from ipaddress import ip_address
from urllib.parse import parse_qsl

import orjson
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from cdc.errors import ConfigError
from cdc.settings import Settings
from cdc.settings.kinds import Network
from cdc.telemetry.http import HTTP_LOG
from cdc.web.problems import MEDIA_TYPE, Problem

MAX_BODY = 65_536
MAX_PARAMETERS = 30
MAX_CONNECTIONS = 1000
HEAD_S, BODY_S, REQUEST_S, KEEP_S = 10.0, 10.0, 30.0, 20.0
"""Seconds for the head of a request, its body, all of it, and until the next one begins."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DECISIVE = ("Authorization", "Idempotency-Key", "If-Match", "Content-Encoding")
_ALWAYS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Server": "cdc",  # not the versions of what it is made of
    "X-Content-Type-Options": "nosniff",
}

Answering = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
Refused = Callable[[int, str, str], None]
"""Status of the answer, the request's id, and who has sent it: a client, or a proxy."""


def response(
    status: int, headers: Mapping[str, str], body: bytes, request_id: str = ""
) -> web.Response:
    made = web.Response(status=status, body=body, headers={**_ALWAYS, **headers})
    if request_id:
        made.headers["X-Request-Id"] = request_id
    return made


def refusal(problem: Problem, request_id: str = "") -> web.Response:
    """The answer to a request that is refused or failed."""
    body = orjson.dumps(problem.document(request_id))
    return response(
        problem.status, {"Content-Type": MEDIA_TYPE, **problem.headers}, body, request_id
    )


class _Protocol(RequestHandler):
    """Answers what cannot be parsed with a problem document, too."""

    __slots__ = ("refused", "waits_since")
    refused: Refused
    waits_since: float | None
    """When it began to wait for its client: for a request, the rest of a body, or to send an
    answer. None: the client waits for us."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun")
        if status >= 500:
            self.log_exception("a request failed", exc_info=exc)
        problem, number = Problem("internal" if status >= 500 else "bad_request"), uuid.uuid4().hex
        self.refused(problem.status, number, _peer(request))
        made = refusal(problem, number)
        made.force_close()
        return made


class ApiServer(web.Server):
    """Ends connections that are too slow, and of too many the one that has kept us waiting
    longest.

    refused: is called for requests that cannot be parsed.
    """

    def __init__(self, answer: Answering, refused: Refused = lambda *_: None) -> None:
        super().__init__(
            self._answer,
            access_log=None,
            logger=HTTP_LOG,
            keepalive_timeout=KEEP_S,
            lingering_time=1.0,
            # A small body could become a large one.
            auto_decompress=False,
        )
        self._then, self._refused = answer, refused
        self._due: dict[RequestHandler, float] = {}
        self._busy: set[RequestHandler] = set()

    def __call__(self) -> RequestHandler:
        made = _Protocol(self, loop=self._loop, **self._kwargs)
        made.refused = self._refused
        return made

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self._due[handler] = self._loop.time() + HEAD_S
        _waits(handler, since=self._loop.time())
        if len(self._due) > MAX_CONNECTIONS:
            since = {one: at for one in self._due if (at := _waits_since(one)) is not None}
            _abort(min(since, key=since.__getitem__))  # this one, if we work for all others

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        self._due.pop(handler, None)
        self._busy.discard(handler)
        super().connection_lost(handler, exc)

    @property
    def open(self) -> int:
        return len(self._due)

    @property
    def in_flight(self) -> int:
        return len(self._busy)

    async def end_slow_ones(self) -> None:
        """Looks each second, for ever."""
        while True:
            await asyncio.sleep(1.0)
            now = self._loop.time()
            for handler in [one for one, due in self._due.items() if due < now]:
                _abort(handler)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        handler = request.protocol
        if handler not in self._due:
            raise ConnectionError("the connection has ended")
        self._due[handler] = self._loop.time() + REQUEST_S
        self._busy.add(handler)
        _waits(handler, since=None)
        try:
            return await self._then(request)
        finally:
            self._busy.discard(handler)
            _waits(handler, since=self._loop.time())
            if handler in self._due:
                self._due[handler] = self._loop.time() + KEEP_S


def _waits(handler: object, *, since: float | None) -> None:
    if isinstance(handler, _Protocol):
        handler.waits_since = since


def _waits_since(handler: object) -> float | None:
    return handler.waits_since if isinstance(handler, _Protocol) else None


def _abort(handler: RequestHandler) -> None:
    # Not close(), which waits for a client that does not read.
    if isinstance(handler.transport, asyncio.Transport):
        handler.transport.abort()


async def read_body(request: web.BaseRequest) -> bytes:
    """Raises Problem for one that is too large, too slow, or encoded."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Problem("unsupported_media_type", "expected a body without Content-Encoding")
    if (request.content_length or 0) > MAX_BODY:
        raise Problem("too_large")
    if not request.body_exists:
        return b""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0
    read = bytearray()
    _waits(request.protocol, since=asyncio.get_running_loop().time())
    try:
        async with asyncio.timeout(BODY_S):
            while part := await request.content.readany():
                read += part
                if len(read) > MAX_BODY:
                    raise Problem("too_large")
    except TimeoutError:
        raise Problem("timeout") from None
    except (web.RequestPayloadError, ConnectionError):
        raise Problem("bad_request", "the body is incomplete or malformed") from None
    finally:
        _waits(request.protocol, since=None)
    return bytes(read)


def headers_of(request: web.BaseRequest) -> dict[str, str]:
    """By name in lower case. Raises Problem where one that decides something was sent twice: a
    proxy may have looked at the other."""
    for name in _DECISIVE:
        if len(request.headers.getall(name, ())) > 1:
            raise Problem("bad_request", f"the header {name} was sent more than once")
    return {name.lower(): value for name, value in request.headers.items()}


def query_of(request: web.BaseRequest) -> dict[str, str]:
    """Raises Problem for one that is malformed, or gives a parameter twice."""
    text = request.rel_url.raw_query_string
    try:
        found = parse_qsl(
            text, keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS
        )
    except ValueError:
        expected = f"expected UTF-8, percent-encoded, and at most {MAX_PARAMETERS} parameters"
        raise Problem("bad_request", f"the query is malformed: {expected}") from None
    names = [name for name, _ in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise Problem("invalid", errors=dict.fromkeys(twice, "given more than once"))
    return dict(found)


def source_of(request: web.BaseRequest, trusted: tuple[Network, ...]) -> str:
    """The client's address: what the last proxy that is not trusted has seen, or is."""
    address = _peer(request)
    forwarded = ",".join(request.headers.getall("X-Forwarded-For", []))
    for before in reversed([part.strip() for part in forwarded.split(",") if part.strip()]):
        if not _within(address, trusted):
            break
        try:
            address = str(ip_address(before))
        except ValueError:
            break
    return address


def request_id(request: web.BaseRequest, trusted: tuple[Network, ...]) -> str:
    """A proxy's, if it is trusted; otherwise a new one."""
    given = request.headers.get("X-Request-Id", "")
    return (
        given
        if _within(_peer(request), trusted) and _REQUEST_ID.fullmatch(given)
        else uuid.uuid4().hex
    )


def _peer(request: web.BaseRequest) -> str:
    transport = request.transport
    peer = transport.get_extra_info("peername") if transport is not None else None
    return str(peer[0]) if isinstance(peer, tuple) else "local"


def _within(address: str, networks: tuple[Network, ...]) -> bool:
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return any(found.version == one.version and found in one for one in networks)


def tls_of(settings: Settings) -> ssl.SSLContext | None:
    """Raises ConfigError for files that cannot be used."""
    if settings.serve_tls_cert_file is None:
        return None
    made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        made.load_cert_chain(settings.serve_tls_cert_file, settings.serve_tls_key_file)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(
            f"cannot use the certificate {settings.serve_tls_cert_file} with the key"
            f" {settings.serve_tls_key_file or 'in it'}: {error}",
            "CDC_SERVE_TLS_CERT_FILE and CDC_SERVE_TLS_KEY_FILE name PEM files that belong "
            "together.",
        ) from None
    return made
