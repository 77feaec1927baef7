"""Names become addresses, and a name server that hangs delays only its own names.

c-ares asks the name servers (and /etc/hosts): a name that gets no answer costs it some kilobytes
for some seconds, and no thread. The system's own way, ``getaddrinfo``, would cost a thread for as
long as it likes; their number is limited, and that many such names stop all.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import Self

import pycares
from pycares import errno as ares

LOOKUPS_STARTING = 256
"""Places for lookups that have just begun: a name server is not to be flooded when a daemon starts
with thousands of names."""

SILENT_LOOKUPS_STARTING = 16
"""Additional places, for names that got no answer last time."""

LOOKUP_STARTS_S = 0.05
"""Seconds after which a lookup without an answer continues without a place. So a lookup behind
others that hang for the first time waits ``LOOKUP_STARTS_S / LOOKUPS_STARTING`` for each of them:
0.2 s for 1,000. Later they only wait for each other."""

MAX_LOOKUPS = 10_000
"""Lookups in progress at most, with a place or without (some 2 kB each)."""

ANSWER_USED_S = 10.0
"""Seconds an answer is reused. Each connection checks its addresses again all the same."""

KNOWN_ANSWERS = 5_000
"""Answers remembered."""

KNOWN_SILENT_NAMES = 20_000
"""Names remembered that got no answer last time."""

ADDRESSES_OF_A_NAME = 32
"""Of one name that are taken: an answer may hold thousands."""

# For a name server that answers in milliseconds c-ares shortens the first wait to 0.25 s; each
# further one is twice as long. So a lookup ends in 4 to 15 s, where there is one server.
_FIRST_WAIT_S = 1.0
_TRIES = 4

Lookup = Callable[[str, int], Awaitable[list[str]]]
"""A name and a port become addresses, in the order to try; raises OSError."""


class Resolver:
    """Looks names up, as many at a time as there are.

    limit:   seconds after which an answer is no longer waited for.
    servers: name servers (``address:port``); the system's if none are given.
    search:  names are completed by the search list of resolv.conf. Not those of endpoints: what is
             signed for one name must not go to another because a search domain answers for it.
    """

    def __init__(
        self, limit: float = 5.0, servers: Sequence[str] = (), *, search: bool = False
    ) -> None:
        self._limit = limit
        self._flags = pycares.ARES_FLAG_EDNS
        if not search:
            self._flags |= pycares.ARES_FLAG_NOSEARCH
        self._servers = servers
        self._places, self._few = (
            asyncio.Semaphore(LOOKUPS_STARTING),
            asyncio.Semaphore(SILENT_LOOKUPS_STARTING),
        )
        self._begun: dict[asyncio.Future[list[str]], asyncio.Semaphore] = {}  # those with a place
        self._silent: dict[str, None] = {}  # names without an answer last time, oldest first
        self._in_flight = 0
        self._channel: pycares.Channel | None = None  # made when it is needed: it has a thread
        self._fresh = 0.0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Lookups in progress end without an answer."""
        if self._channel is not None:
            self._channel.close()

    async def __call__(self, name: str, port: int) -> list[str]:
        """Addresses of a name as text, in the order to try them, each once.

        Raises socket.gaierror when there is no address, or no answer in time.
        """
        asked = False
        try:
            async with asyncio.timeout(self._limit):
                places = self._few if name in self._silent else self._places
                await places.acquire()
                asked = True
                return await self._ask(name, port, places)
        except TimeoutError:
            if asked:
                self._note(name, silent=True)
            message = f"no answer within {self._limit:g} s"
            raise socket.gaierror(socket.EAI_AGAIN, message) from None

    def _note(self, name: str, *, silent: bool) -> None:
        self._silent.pop(name, None)
        if silent:
            if len(self._silent) >= KNOWN_SILENT_NAMES:
                del self._silent[next(iter(self._silent))]
            self._silent[name] = None

    def _ask(self, name: str, port: int, places: asyncio.Semaphore) -> asyncio.Future[list[str]]:
        """Asks, in a place that is given up soon."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[str]] = loop.create_future()
        self._begun[answer] = places
        answer.add_done_callback(self._leave)
        loop.call_later(LOOKUP_STARTS_S, self._leave, answer)

        def heard(result: pycares.AddrInfoResult | None, error: int | None) -> None:
            self._in_flight -= 1
            self._note(name, silent=error == ares.ARES_ETIMEOUT)
            if answer.done():
                return
            if result is not None:
                answer.set_result(_addresses(result))
            else:
                answer.set_exception(_failed(error, self._limit))

        def answered(result: pycares.AddrInfoResult | None, error: int | None) -> None:
            # RuntimeError: the loop was closed meanwhile.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(heard, result, error)

        self._in_flight += 1
        if self._in_flight > MAX_LOOKUPS:
            heard(None, ares.ARES_ENOMEM)
            return answer
        try:
            asked = name.encode("idna").decode("ascii")
            self._open().getaddrinfo(asked, port, type=socket.SOCK_STREAM, callback=answered)
        except UnicodeError:
            heard(None, ares.ARES_EBADNAME)
        except RuntimeError:  # it was closed
            heard(None, ares.ARES_EDESTRUCTION)
        return answer

    def _leave(self, answer: asyncio.Future[list[str]]) -> None:
        if (places := self._begun.pop(answer, None)) is not None:
            places.release()

    def _open(self) -> pycares.Channel:
        now = monotonic()
        if self._channel is None:
            self._channel = pycares.Channel(
                flags=self._flags,
                timeout=_FIRST_WAIT_S,
                tries=_TRIES,
                servers=self._servers or None,
            )
        elif now > self._fresh + ANSWER_USED_S:
            # It keeps answers, too: by their own time, and without a bound. This drops them soon.
            self._channel.reinit()
        else:
            return self._channel
        self._fresh = now
        return self._channel


class Names:
    """Looks each name up once, however many wait for it, and remembers the answer for a while.

    look: how it is done.
    """

    def __init__(self, look: Lookup) -> None:
        self._look = look
        self._asked: dict[tuple[str, int], asyncio.Task[list[str]]] = {}
        self._known: dict[tuple[str, int], tuple[float, list[str]]] = {}

    async def __call__(self, name: str, port: int) -> list[str]:
        """Addresses of the name. Raises OSError."""
        key = name, port
        at, known = self._known.get(key, (0.0, []))
        if known and monotonic() < at + ANSWER_USED_S:
            return known
        task = self._asked.get(key)
        if task is None:
            self._asked[key] = task = asyncio.create_task(self._ask(key))
            task.add_done_callback(_heard)
        # Who is cancelled does not take the answer from the others.
        return await asyncio.shield(task)

    async def _ask(self, key: tuple[str, int]) -> list[str]:
        try:
            found = await self._look(*key)
        finally:
            del self._asked[key]
        if len(self._known) >= KNOWN_ANSWERS:
            self._known.clear()
        self._known[key] = monotonic(), found
        return found


def _heard(task: asyncio.Task[list[str]]) -> None:
    """An error that no lookup waits for any more is not reported to the event loop either."""
    if not task.cancelled():
        task.exception()


async def lookup(name: str, port: int, limit: float = 5.0, *, search: bool = False) -> list[str]:
    """One name, for once; as a Resolver does. Raises socket.gaierror."""
    async with Resolver(limit, search=search) as resolver:
        return await resolver(name, port)


def _addresses(result: pycares.AddrInfoResult) -> list[str]:
    found = dict.fromkeys(_address(node.addr) for node in result.nodes)
    return list(found)[:ADDRESSES_OF_A_NAME]


def _address(sockaddr: tuple[object, ...]) -> str:
    """The address of a socket address; a zone stays visible, so that the guard can refuse it."""
    first = sockaddr[0]
    address = first.decode("ascii") if isinstance(first, bytes) else str(first)
    if len(sockaddr) == 4 and sockaddr[3] and "%" not in address:
        address += f"%{sockaddr[3]}"
    return address


def _failed(error: int | None, limit: float) -> socket.gaierror:
    # The words are those of cdc/causes.
    match error:
        case ares.ARES_ENOTFOUND | ares.ARES_ENONAME:
            return socket.gaierror(socket.EAI_NONAME, "no such name")
        case ares.ARES_ENODATA:
            return socket.gaierror(socket.EAI_NONAME, "the name has no address")
        case ares.ARES_EBADNAME:
            return socket.gaierror(socket.EAI_NONAME, "invalid host name")
        case ares.ARES_ETIMEOUT:
            return socket.gaierror(socket.EAI_AGAIN, f"no answer within {limit:g} s")
        case ares.ARES_ECONNREFUSED:
            return socket.gaierror(socket.EAI_AGAIN, "no name server can be reached")
        case ares.ARES_ENOMEM:
            return socket.gaierror(socket.EAI_AGAIN, "too many names get no answer just now")
    why = ares.errorcode.get(error or 0, str(error)).removeprefix("ARES_E")
    return socket.gaierror(socket.EAI_AGAIN, f"the name server failed ({why})")
