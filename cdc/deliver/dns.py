"""Look names up without one hanging name server stopping the others.

The event loop's own pool for this has a handful of threads, shared with all else; four names
whose server does not answer would stop every lookup, and the end of the process waits for them.
So each lookup gets a thread of its own that nobody waits for. They are rare: connections are kept
and answers are cached for seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Awaitable, Callable
from time import monotonic

AT_ONCE = 128
"""Lookups under way at the same time in one client; more wait, each within its own limit. More than
the webhooks of a company, so that none can have them all hang."""

HUNG_AT_ONCE = 16
"""Of these beside them, those of names that have hung lately."""

HUNG_FOR = 3600.0
"""Seconds for which a name counts as such a one."""

TTL = 10.0
"""Seconds an answer is used again. Each connection judges its addresses anew all the same."""

MOST = 5_000
"""Answers remembered."""

Lookup = Callable[[str, int], Awaitable[list[str]]]
"""A name and a port become addresses, in the order to try; raises OSError."""


class Gate:
    """Bounds how many threads look names up; a hanging lookup keeps its place until it ends.

    Names that have hung lately have few places, for themselves: whoever registers many of them
    holds up nobody else.
    """

    def __init__(self) -> None:
        self._usual = asyncio.Semaphore(AT_ONCE)
        self._few = asyncio.Semaphore(HUNG_AT_ONCE)
        self._hung: dict[str, float] = {}

    def places(self, name: str) -> asyncio.Semaphore:
        return self._few if monotonic() < self._hung.get(name, 0.0) else self._usual

    def hung(self, name: str) -> None:
        if len(self._hung) >= MOST:
            del self._hung[next(iter(self._hung))]
        self._hung[name] = monotonic() + HUNG_FOR


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
        if known and monotonic() < at + TTL:
            return known
        task = self._asked.get(key)
        if task is None:
            self._asked[key] = task = asyncio.create_task(self._ask(key))
            task.add_done_callback(_heard)
        # Who is cancelled does not take the answer from the others.
        return await asyncio.shield(task)

    @property
    def remembered(self) -> int:
        """Answers remembered now."""
        return len(self._known)

    async def _ask(self, key: tuple[str, int]) -> list[str]:
        try:
            found = await self._look(*key)
        finally:
            del self._asked[key]
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[key] = monotonic(), found
        return found


def _heard(task: asyncio.Task[list[str]]) -> None:
    """An error that nobody is left to hear of is no news to the event loop either."""
    if not task.cancelled():
        task.exception()


async def lookup(name: str, port: int, limit: float = 5.0, gate: Gate | None = None) -> list[str]:
    """Addresses of a name as text, in the system's order of preference, each once.

    limit: seconds after which nobody waits any longer.

    Raises socket.gaierror when there is no address, or no answer in time.
    """
    places = None if gate is None else gate.places(name)
    began: float | None = None
    try:
        async with asyncio.timeout(limit):
            if places is not None:
                await places.acquire()
            began = monotonic()
            return await _in_thread(name, port, places)
    except TimeoutError:
        # Not one that had to wait for a place itself.
        if gate is not None and began is not None and monotonic() - began > limit / 2:
            gate.hung(name)
        message = f"no answer within {limit:g} s"
        raise socket.gaierror(socket.EAI_AGAIN, message) from None


async def _in_thread(name: str, port: int, places: asyncio.Semaphore | None) -> list[str]:
    loop = asyncio.get_running_loop()
    found: asyncio.Future[list[str]] = loop.create_future()

    def settle(result: list[str] | OSError) -> None:
        if places is not None:
            places.release()
        if found.done():
            return
        if isinstance(result, OSError):
            found.set_exception(result)
        else:
            found.set_result(result)

    def work() -> None:
        result: list[str] | OSError
        try:
            infos = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
            result = list(dict.fromkeys(_address(info[4]) for info in infos))
        except OSError as error:
            result = error
        except ValueError:
            # getaddrinfo raises UnicodeError for labels that no name can have.
            result = socket.gaierror(socket.EAI_NONAME, "this is no host name")
        # RuntimeError: the loop was closed meanwhile, nobody asks any more.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, result)

    try:
        threading.Thread(target=work, name=f"lookup {name}", daemon=True).start()
    except RuntimeError:
        settle(socket.gaierror(socket.EAI_AGAIN, "no thread to be had for looking it up"))
    return await found


def _address(sockaddr: tuple[object, ...]) -> str:
    """The address of a socket address; a zone stays visible, so that the guard can refuse it."""
    address = str(sockaddr[0])
    if len(sockaddr) == 4 and sockaddr[3] and "%" not in address:
        address += f"%{sockaddr[3]}"
    return address
