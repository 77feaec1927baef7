"""The seam: a request goes in, an outcome comes out. A bad receiver is a value, no exception.

Below it: ``pool`` (which connection), ``connection`` (one exchange), ``answer`` (what the peer may
say). It speaks HTTP/1.1 and does POST, nothing else: no redirect is followed, nothing is unpacked,
no cookie kept, no proxy taken from the variables that other programs go by.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

from cdc.deliver import outcome
from cdc.deliver import url as urls
from cdc.deliver.answer import HttpReply
from cdc.deliver.dns import Lookup, Names, Resolver
from cdc.deliver.guard import Guard
from cdc.deliver.pool import ConnectionPool, Crowded, Origin
from cdc.deliver.proxy import Proxy
from cdc.deliver.trust import Trust
from cdc.model import Outcome, Request
from cdc.settings import Settings
from cdc.wording import bracketed


class Withheld(Exception):
    """Nothing was sent: it may not be any more, since while the connection was being made."""


class SendPermit(Protocol):
    """Says whether requests may be sent."""

    def may_send(self) -> bool: ...


class Way(NamedTuple):
    """Where an endpoint leads.

    origin: by http; by https it depends on the certificates to trust and to show.
    secure: by https.
    name:   host and port, for people.
    start:  the request line and Host, as they are sent.
    """

    origin: Origin
    secure: bool
    name: str
    start: bytes


class Client:
    """Delivers over HTTP; one serves all webhooks of a daemon.

    guard:           asked about each address dialled.
    deadline:        seconds for a whole attempt: connecting, headers, body.
    connect_timeout: seconds until a connection stands (name, TCP, TLS).
    trust:           whom to trust in TLS, and what to show.
    keepalive:       seconds an idle connection is kept.
    retry_after_cap: the most seconds a receiver's Retry-After is believed.
    answer_limit:    bytes read of an answer's body; the status counts, the rest is not wanted.
    excerpt_limit:   bytes of it that are kept for people, 1 KiB at most.
    look:            how names are looked up.
    proxy:           through which all connections lead; None: straight to the receiver.
    most_open:       sockets that may be open at once; None for what the system allows.
    lease:           asked again when a connection had to be made: that takes its time.

    Raises ConfigError if the files for all webhooks cannot be used.
    """

    def __init__(
        self,
        guard: Guard,
        *,
        deadline: float = 15.0,
        connect_timeout: float = 5.0,
        trust: Trust | None = None,
        keepalive: float = 15.0,
        retry_after_cap: float = outcome.RETRY_AFTER_LIMIT_S,
        answer_limit: int = 64 * 1024,
        excerpt_limit: int = outcome.EXCERPT_BYTES,
        look: Lookup | None = None,
        proxy: Proxy | None = None,
        most_open: int | None = None,
        lease: SendPermit | None = None,
    ) -> None:
        self._guard = guard
        self._lease = lease
        self._deadline = deadline
        self._cap = retry_after_cap
        self._excerpt_limit = excerpt_limit
        self._trust = trust or Trust()
        self._trust.context()
        # The name server gets a little less than connecting as a whole, so that the detail says
        # which of the two it was.
        self._resolver = Resolver(connect_timeout * 0.8)
        self._names = Names(look or self._resolver)
        # The operator's own name, which may be a short one.
        self._proxys = Resolver(connect_timeout * 0.8, search=True)
        self._pool = ConnectionPool(
            guard,
            self._names,
            look_proxy=Names(look or self._proxys),
            connect_timeout=connect_timeout,
            keepalive=keepalive,
            answer_limit=answer_limit,
            most=most_open,
            proxy=proxy,
        )
        self._closed = False
        # One entry for each endpoint in use; bounded: new ones may be registered at any time.
        self._route = functools.lru_cache(maxsize=10_000)(self._find_route)

    @classmethod
    def of(
        cls, settings: Settings, lease: SendPermit | None = None, trust: Trust | None = None
    ) -> Client:
        """As the settings have it. Raises ConfigError.

        trust: of the settings, where it was read before: the system's authorities take 45 ms.
        """
        proxy = settings.proxy
        return cls(
            Guard.of(settings),
            deadline=settings.attempt_timeout,
            connect_timeout=settings.connect_timeout,
            trust=trust or Trust.of(settings),
            retry_after_cap=settings.retry_after_cap,
            answer_limit=settings.answer_limit,
            excerpt_limit=settings.excerpt_limit,
            proxy=None
            if proxy is None
            else Proxy(proxy, resolves=settings.proxy_resolves, exempt=settings.no_proxy),
            lease=lease,
        )

    async def post(
        self, request: Request, hear: Callable[[bytes], object] | None = None
    ) -> Outcome:
        """Send one request; never raises for what a receiver does.

        hear: gets the answer's body, as far as it was read.

        Cancelling passes through and closes the connection. If a kept connection ends at once and
        without a byte of an answer, it had most likely been closed for idleness while we wrote:
        then, and only then, the request goes out a second time within the same attempt, on a
        new connection.

        Raises Withheld when it may not be sent any more by the time it could be, Crowded when there
        was no socket for it: others hold all of them, of which its receiver knows nothing; Unable
        when this machine has no descriptor, memory or local port left for it.
        """
        if self._closed:
            raise RuntimeError("the client is closed")
        started = time.monotonic()
        host, waited = "", "complete answer"
        try:
            origin, secure, host, start = self._route(request.url)
            if secure:
                tls = self._trust.context(request.tls_profile)
                origin = Origin(origin.host, origin.port, tls)
            due = started + self._deadline
            body = request.body
            message = b"%b%bContent-Length: %d\r\n\r\n%b" % (start, request.head, len(body), body)
            reply = await self._by_kept(origin, message, due)
            if reply is None:
                waited = "connection"
                connection = await self._pool.dial(origin, due)
                waited = "complete answer"
                if self._lease is not None and not self._lease.may_send():
                    self._pool.give(origin, connection)
                    raise Withheld
                reply = await connection.exchange(message, due)
                self._pool.give(origin, connection)
        except (Withheld, Crowded):
            raise
        except Exception as error:
            if (lacking := outcome.lacking(error)) is not None:
                raise outcome.Unable(lacking) from error
            return outcome.failed(error, host, time.monotonic() - started, waited)
        if hear is not None:
            hear(reply.body)
        excerpt = outcome.excerpt(reply.body, request, self._excerpt_limit)
        wait = reply.retry_after
        pause = None if wait is None else outcome.retry_after(wait, time.time(), self._cap)
        redirects = 300 <= reply.status < 400
        leads = outcome.leads_to(reply.location, request.url) if redirects else ""
        duration = time.monotonic() - started
        return outcome.answered(reply.status, duration, excerpt, pause, leads, reply.asks)

    async def _by_kept(self, origin: Origin, message: bytes, due: float) -> HttpReply | None:
        """By a kept connection; None if there is none, or if it turns out to have ended."""
        connection = self._pool.take(origin)
        if connection is None:
            return None
        try:
            reply = await connection.exchange(message, due)
        except OSError as error:
            if isinstance(error, TimeoutError) or not connection.stale:
                raise
            return None
        self._pool.give(origin, connection)
        return reply

    def _find_route(self, endpoint: str) -> Way:
        """Raises what the guard raises.

        It is asked again here, though registration did: settings change, and rows can be imported.
        """
        self._guard.check_url(endpoint)
        target = urls.parse(endpoint)
        secure = target.scheme == "https"
        name = bracketed(target.host)
        host = name if target.port == (443 if secure else 80) else f"{name}:{target.port}"
        start = f"POST {target.path} HTTP/1.1\r\nHost: {host}\r\n".encode("ascii")
        origin = Origin(target.host, target.port, None)
        return Way(origin, secure, f"{name}:{target.port}", start)

    def check_tls(self, profile: str | None) -> None:
        """Raise UnusableTls or UsageError unless this profile can be used."""
        self._trust.context(profile)

    @property
    def open(self) -> int:
        """Sockets that are open or being opened."""
        return self._pool.open

    async def close(self) -> None:
        """Close all connections; what is in flight ends as reset."""
        self._closed = True
        self._resolver.close()
        self._proxys.close()
        await self._pool.close()
