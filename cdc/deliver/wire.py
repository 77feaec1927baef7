"""The connections below the client: whom they may dial, and how much a peer may send.

aiohttp bounds single header lines and their number, but not what lies around an answer: interim
answers (1xx) without end, chunk extensions without end, an answer to a question nobody has
asked. A peer could keep the event loop of every other webhook busy with these until the deadline,
so each connection counts.
"""

from __future__ import annotations

import asyncio
import functools
import socket
import ssl
import time
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler

from cdc.deliver.dns import Lookup
from cdc.deliver.guard import Guard, Refused, usable
from cdc.deliver.outcome import RefusedDial, TooMuch

if TYPE_CHECKING:
    from aiohttp.client_reqrep import ClientRequest
    from aiohttp.connector import AddrInfoType, Connection
    from aiohttp.tracing import Trace

RAW_LIMIT = 256 * 1024
"""Bytes of one answer as it comes over the wire, headers and framing included, after which the
connection is cut. Four times what is read of a body."""

INTERIM_LIMIT = 16
"""Interim answers (1xx) before the real one."""

_SLICE = 16 * 1024  # what is parsed before the limits are looked at again

RACE = 1.0
"""Seconds within which the end of a kept connection counts as the race between us writing and the
peer closing it for idleness."""


@dataclass(slots=True)
class Attempt:
    """What a request under way knows of its connection.

    fresh: it must be a new one.
    """

    fresh: bool = False
    wire: Wire | None = None


current: ContextVar[Attempt] = ContextVar("attempt")


class Wire(ResponseHandler):
    """One connection; counts what comes in for each request it carries.

    uses:     requests it has carried, the present one included.
    received: bytes that came in for the present one.
    cut:      why we have ended it; None if we have not.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.uses = 0
        self.received = 0
        self.cut: TooMuch | None = None
        self._messages = 0
        self._since = 0.0

    def begin(self) -> None:
        """A request is about to go out."""
        self.uses += 1
        self.received = 0
        self._messages = 0
        self._since = time.monotonic()

    def ended_idle(self) -> bool:
        """The connection had been kept, and ended before the peer can have looked at the request.

        That is: at once, and without a byte of an answer. Not certain, as nothing here can be: a
        peer may have read, acted and closed. But then the delivery would be sent again anyhow
        some seconds later, under the same webhook-id.
        """
        return self.uses > 1 and self.received == 0 and time.monotonic() - self._since < RACE

    def feed_data(self, data: object, size: int = 0) -> None:
        self._messages += 1
        super().feed_data(data, size)  # type: ignore[arg-type]  # passed on as it came

    def data_received(self, data: bytes) -> None:
        if len(data) <= _SLICE:
            self._take(data)
            return
        for start in range(0, len(data), _SLICE):
            if not self.is_connected():
                return
            self._take(data[start : start + _SLICE])

    def _take(self, data: bytes) -> None:
        # Looked at before the bytes are counted in: a large body that is being read comes in
        # large pieces, and stops by itself when its reader has had enough.
        if self.received > RAW_LIMIT:
            self._end(TooMuch("the answer is wrapped in more bytes than any honest one"))
            return
        self.received += len(data)
        super().data_received(data)
        if self._messages > INTERIM_LIMIT:
            self._end(TooMuch("interim answers (1xx) without end"))

    def _end(self, reason: TooMuch) -> None:
        self.cut = reason
        self.set_exception(reason)
        if self.transport is not None:
            self.transport.abort()


def _new_wire(loop: asyncio.AbstractEventLoop) -> ResponseHandler:
    return Wire(loop)


class Connector(aiohttp.TCPConnector):
    """Dials what the guard allows, and hands out connections that are fit for a request.

    keepalive: seconds an idle connection is kept.
    """

    def __init__(
        self, guard: Guard, look: Lookup, ssl_context: ssl.SSLContext, keepalive: float
    ) -> None:
        super().__init__(
            resolver=_Resolver(guard, look),
            socket_factory=functools.partial(_open_socket, guard),
            ssl=ssl_context,
            limit=0,  # lanes bound how much is under way
            keepalive_timeout=keepalive,
        )
        # aiohttp has no public way to bring one's own protocol; the tests of endless answers fail
        # if this name stops working.
        self._factory = functools.partial(_new_wire, self._loop)

    async def connect(
        self,
        req: ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - the parent's signature
    ) -> Connection:
        attempt = current.get()
        while True:
            connection = await super().connect(req, traces, timeout)
            wire = connection.protocol
            assert isinstance(wire, Wire)
            # should_close: something came while it lay idle, and would be taken for our answer.
            if wire.should_close or (attempt.fresh and wire.uses):
                connection.close()
                continue
            wire.begin()
            attempt.wire = wire
            return connection


class _Resolver(AbstractResolver):
    """Names become addresses that may be dialled; a mix is reduced to the good ones."""

    def __init__(self, guard: Guard, look: Lookup) -> None:
        self._guard = guard
        self._look = look

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        try:
            good = usable(self._guard, await self._look(host, port))
        except Refused as refused:
            raise RefusedDial(refused) from refused
        if not good:
            raise socket.gaierror(socket.EAI_NONAME, "it has no address")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in good
        ]

    async def close(self) -> None:
        """Nothing is held."""


def _open_socket(guard: Guard, info: AddrInfoType) -> socket.socket:
    """The last place before a connection is made: whatever road led here, this is the address."""
    family, kind, proto, _, address = info
    try:
        guard.check_address(str(address[0]))
    except Refused as refused:
        raise RefusedDial(refused) from refused
    return socket.socket(family, kind, proto)
