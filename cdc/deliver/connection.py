"""One connection: a request goes out, the answer comes in, and whatever the peer does, it ends."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from time import monotonic
from typing import cast

from cdc.deliver.answer import HEAD_LIMIT_BYTES, AnswerReader, HttpReply
from cdc.deliver.outcome import Ended, NotHttp, TooMuch

IDLE_RACE_S = 1.0
"""Seconds within which the end of a kept connection counts as the race between us writing and the
peer closing it for idleness."""


class HttpConnection(asyncio.Protocol):
    """Carries one exchange at a time.

    limit: bytes that are read of an answer's body.
    lost:  called once when the connection has ended.
    ends:  when it is too old for another request (monotonic).

    There is one timer a connection, not one a request: it is set to the time by which something
    has to happen, and where that has moved on when it fires, it is set again.
    """

    __slots__ = (
        "_due",
        "_early",
        "_fires",
        "_loop",
        "_lost",
        "_reader",
        "_since",
        "_timer",
        "_transport",
        "_uses",
        "_waiter",
        "ends",
        "open",
    )

    def __init__(
        self, loop: asyncio.AbstractEventLoop, limit: int, lost: Callable[[HttpConnection], None]
    ) -> None:
        self._loop = loop
        self._lost = lost
        self._reader = AnswerReader(limit)
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[HttpReply] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._fires = self._due = self._since = 0.0
        self._uses = 0
        self._early = b""
        self.open = False
        self.ends = math.inf

    # -- for the pool and the client --------------------------------------------------------------

    async def exchange(self, message: bytes, due: float) -> HttpReply:
        """Send a whole request and wait for its answer until `due` (monotonic).

        Raises TimeoutError; Ended or another OSError when the connection ends first; NotHttp or
        TooMuch for what the peer says. The connection is closed then, and when the caller is
        cancelled.
        """
        assert self._transport is not None
        self._uses += 1
        self._since = monotonic()
        self._reader.begin()
        waiter: asyncio.Future[HttpReply] = self._loop.create_future()
        self._waiter = waiter
        self._wake(due)
        self._transport.write(message)
        if self._early:
            early, self._early = self._early, b""
            self.data_received(early)
        try:
            return await waiter
        except BaseException:
            self.close()
            raise

    def rest(self, until: float) -> None:
        """Lie idle until then (monotonic), and close."""
        self._wake(until)

    @property
    def made(self) -> bool:
        """It stands, or is about to be lost."""
        return self._transport is not None

    @property
    def fit(self) -> bool:
        """It can carry a request."""
        return (
            self.open
            and self._transport is not None
            and not self._transport.is_closing()
            and monotonic() < self.ends
        )

    @property
    def stale(self) -> bool:
        """It had been kept, and ended before the peer can have looked at the request.

        That is: at once, and without a byte of an answer. Not certain, as nothing here can be: a
        peer may have read, acted and closed. But then the delivery would be sent again anyhow
        some seconds later, under the same webhook-id.
        """
        return (
            self._uses > 1 and not self._reader.received and monotonic() - self._since < IDLE_RACE_S
        )

    def close(self) -> None:
        """At once, without waiting for the peer."""
        self.open = False
        if self._transport is not None:
            self._transport.abort()

    # -- called by the event loop -----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast: uvloop's transports are not subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self.open = True

    def data_received(self, data: bytes) -> None:
        if not self._uses and len(self._early) < HEAD_LIMIT_BYTES:
            # It talks before being asked, to refuse us for instance: heard with the first request.
            self._early += data
            return
        if self._waiter is None:
            # An answer without a request would be taken for that of the next request.
            self.close()
            return
        try:
            complete = self._reader.feed(data)
        except (NotHttp, TooMuch) as error:
            self._fail(error)
            return
        if complete:
            self._answer()

    def eof_received(self) -> None:
        self._ended(None)  # and the loop closes our side too

    def connection_lost(self, error: Exception | None) -> None:
        self._ended(error)
        if self._timer is not None:
            self._timer.cancel()
        self._transport = None
        self._lost(self)

    # -- inside -----------------------------------------------------------------------------------

    def _ended(self, error: Exception | None) -> None:
        self.open = False
        if self._waiter is None:
            return
        if error is None and self._reader.end():
            self._answer()
        else:
            self._fail(error or Ended(begun=self._reader.begun))

    def _answer(self) -> None:
        waiter, self._waiter = self._waiter, None
        reply = self._reader.reply()
        transport = self._transport
        if not reply.keep or transport is None or transport.get_write_buffer_size():
            # The latter: it has answered what it had not read; the rest would be a request to it.
            self.close()
        if waiter is not None and not waiter.done():
            waiter.set_result(reply)

    def _fail(self, error: Exception) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)
        self.close()

    def _wake(self, due: float) -> None:
        self._due = due
        if self._timer is not None:
            if self._fires <= due:
                return
            self._timer.cancel()
        self._set_timer(due)

    def _set_timer(self, due: float) -> None:
        self._fires = due
        self._timer = self._loop.call_later(max(0.0, due - monotonic()), self._alarm)

    def _alarm(self) -> None:
        self._timer = None
        if self._due > monotonic():
            self._set_timer(self._due)
        elif self._waiter is not None:
            self._fail(TimeoutError())
        else:
            self.close()
