"""Connections: dialled through the guard, kept for the next request, bounded in number."""

from __future__ import annotations

import asyncio
import random
import resource
import socket
import ssl
from collections import OrderedDict
from ipaddress import ip_address
from time import monotonic
from typing import NamedTuple

import aiohappyeyeballs

from cdc.deliver.connection import HttpConnection
from cdc.deliver.dns import Lookup
from cdc.deliver.guard import AddressRefused, Guard, usable
from cdc.deliver.handshake import HandshakeEnded
from cdc.deliver.outcome import Ended, RefusedDial
from cdc.deliver.proxy import Proxy

IDLE_CONNECTIONS = 4_000
"""Idle connections that are kept, over all origins."""

CONNECTION_AGE_S = (60.0, 120.0)
"""Seconds after which a connection is used no more, however busy: a name may lead elsewhere by
then. From one to the other at random, so that those that were made together do not end together."""

_NEXT_ADDRESS_AFTER_S = 0.25  # between addresses of one name (RFC 8305)
_SPARE_DESCRIPTORS = 100  # file descriptors left to the rest of the process
_MAX_SOCKETS = 20_000


class Crowded(Exception):
    """All sockets were in use for as long as connecting may take. Not the receiver's doing."""


_Info = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[str, int]]


class Origin(NamedTuple):
    """What a connection is good for; requests of the same origin may share one.

    host: a name, or an address in its usual form.
    tls:  how to trust and be trusted; None for plain http. Another context is another origin: a
          connection is never lent to a webhook with other certificates.
    """

    host: str
    port: int
    tls: ssl.SSLContext | None


class ConnectionPool:
    """The connections of a client.

    guard:           asked about each address dialled.
    look:            how names are looked up.
    connect_timeout: seconds until a connection stands (name, TCP, TLS).
    keepalive:       seconds an idle connection is kept.
    answer_limit:    bytes that are read of an answer's body.
    most:            sockets that may be open at once; None for what the system allows. Who needs
                     one more waits, within the connect timeout.
    proxy:           through which connections lead, but for hosts that it exempts; None: straight
                     to the receiver.
    look_proxy:      how its own name is looked up.
    """

    def __init__(
        self,
        guard: Guard,
        look: Lookup,
        *,
        connect_timeout: float,
        keepalive: float,
        answer_limit: int,
        most: int | None = None,
        proxy: Proxy | None = None,
        look_proxy: Lookup | None = None,
    ) -> None:
        self._proxy = proxy
        self._look_proxy = look_proxy or look
        self._guard = guard
        self._look = look
        self._connect_timeout = connect_timeout
        self._keepalive = keepalive
        self._answer_limit = answer_limit
        self._free = asyncio.Semaphore(most or _allowed())
        self._waiting = 0
        self._all: set[HttpConnection] = set()
        self._idle: dict[Origin, list[HttpConnection]] = {}
        self._origins: OrderedDict[HttpConnection, Origin] = (
            OrderedDict()
        )  # of idle ones, oldest first
        self._closed = False
        self._gone = asyncio.Event()

    def take(self, origin: Origin) -> HttpConnection | None:
        """An idle connection that is fit for a request, the one used last."""
        while idle := self._idle.get(origin):
            connection = idle.pop()
            if not idle:
                del self._idle[origin]
            del self._origins[connection]
            if connection.fit:
                return connection
            connection.close()
        return None

    def give(self, origin: Origin, connection: HttpConnection) -> None:
        """Its exchange is over: keep it, if it is fit and there is room."""
        if not connection.fit or self._waiting or self._closed:
            connection.close()
            return
        connection.rest(min(monotonic() + self._keepalive, connection.ends))
        idle = self._idle.setdefault(origin, [])
        idle.append(connection)
        self._origins[connection] = origin
        if len(self._origins) > IDLE_CONNECTIONS:
            # A host with more than its fair share gives one up.
            mine = len(idle) > max(1, IDLE_CONNECTIONS // len(self._idle))
            self._close_idle(idle[0] if mine else next(iter(self._origins)))

    async def dial(self, origin: Origin, due: float) -> HttpConnection:
        """A new connection, before `due` (monotonic).

        Raises Crowded; TimeoutError; RefusedDial, if the guard allows no address; ProxyFailed;
        another OSError or an SSLError.
        """
        waits = False
        try:
            async with asyncio.timeout(min(self._connect_timeout, due - monotonic())):
                # Before a socket is taken: names that get no answer must not hold them.
                hosts = await self._hosts(origin)
                waits = True
                await self._place()
                waits = False
                connection = HttpConnection(
                    asyncio.get_running_loop(), self._answer_limit, self._lost
                )
                self._all.add(connection)
                try:
                    await self._connect(connection, origin, hosts, due)
                except BaseException:
                    connection.close()
                    self._lost(connection)
                    raise
        except TimeoutError:
            if waits:
                raise Crowded from None
            raise
        # Not for anything secret.
        connection.ends = monotonic() + random.uniform(*CONNECTION_AGE_S)  # noqa: S311
        if self._closed:
            connection.close()
        if not connection.open:
            raise Ended(begun=False)
        return connection

    @property
    def open(self) -> int:
        """Sockets that are open or being opened."""
        return len(self._all)

    async def close(self) -> None:
        """Close all; what is in flight ends. Returns when none is left open.

        One that is being dialled is closed as soon as it stands.
        """
        self._closed = True
        while made := [connection for connection in self._all if connection.made]:
            for connection in made:
                connection.close()
            self._gone.clear()
            await self._gone.wait()

    async def _place(self) -> None:
        if self._free.locked() and self._origins:
            self._close_idle(next(iter(self._origins)))
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1

    def _close_idle(self, connection: HttpConnection) -> None:
        self._forget(connection)
        connection.close()

    def _forget(self, connection: HttpConnection) -> None:
        """It is idle no longer, if it was."""
        origin = self._origins.pop(connection, None)
        if origin is not None:
            idle = self._idle[origin]
            idle.remove(connection)
            if not idle:
                del self._idle[origin]

    def _lost(self, connection: HttpConnection) -> None:
        """It is gone; called by the connection itself, or because it never came about."""
        if connection in self._all:
            self._all.remove(connection)
            self._free.release()
            self._forget(connection)
            self._gone.set()

    async def _connect(
        self, connection: HttpConnection, origin: Origin, hosts: list[str], due: float
    ) -> None:
        proxy = self._proxy_for(origin)
        if proxy is None:
            sock = await aiohappyeyeballs.start_connection(
                [_info(address, origin.port) for address in hosts],
                happy_eyeballs_delay=_NEXT_ADDRESS_AFTER_S,
                socket_factory=self._open_socket,
            )
            self._judge(sock)
        else:
            # A little less than connecting as a whole, so that the detail names what was too slow.
            limit = min(self._connect_timeout, due - monotonic()) * 0.8
            sock = await proxy.dial(hosts, origin.port, self._look_proxy, limit)
        # The name goes into SNI and is what the certificate must be for.
        name = origin.host if origin.tls is not None else None
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: connection,
                sock=sock,
                ssl=origin.tls,
                server_hostname=name,
                ssl_handshake_timeout=None if origin.tls is None else self._connect_timeout,
            )
        except (ConnectionResetError, BrokenPipeError, ConnectionAbortedError) as error:
            if origin.tls is None or isinstance(error, TimeoutError):
                raise
            raise HandshakeEnded from error

    def _proxy_for(self, origin: Origin) -> Proxy | None:
        if self._proxy is None or self._proxy.exempts(origin.host, origin.port):
            return None
        return self._proxy

    def _judge(self, sock: socket.socket) -> None:
        """Closes it, and raises RefusedDial, if it has led to this machine."""
        try:
            self._guard.check_ends(sock.getsockname()[0], sock.getpeername()[0])
        except AddressRefused as refused:
            sock.close()
            raise RefusedDial(refused) from refused
        except OSError:
            sock.close()
            raise

    async def _hosts(self, origin: Origin) -> list[str]:
        """What to dial, or to ask the proxy for: addresses that were judged, so what is judged is
        what it dials; where it looks names up itself, it gets the name, and must check."""
        proxy = self._proxy_for(origin)
        if proxy is None:
            return await self._addresses(origin)
        if proxy.resolves and _address(origin.host) is None:
            return [origin.host]
        # IPv4 first: whether the proxy has IPv6 is not known here, and finding out takes long.
        return sorted(await self._addresses(origin), key=lambda address: ":" in address)

    async def _addresses(self, origin: Origin) -> list[str]:
        """Addresses that may be dialled; a mix is reduced to the good ones."""
        address = _address(origin.host)
        found = [address] if address else await self._look(origin.host, origin.port)
        try:
            good = usable(self._guard, found)
        except AddressRefused as refused:
            raise RefusedDial(refused) from refused
        if not good:
            raise socket.gaierror(socket.EAI_NONAME, "the name has no address")
        return good

    def _open_socket(self, info: _Info) -> socket.socket:
        """The last place before a connection is made: whatever led here, this is the
        address."""
        family, kind, proto, _, address = info
        try:
            self._guard.check_address(address[0])
        except AddressRefused as refused:
            raise RefusedDial(refused) from refused
        return socket.socket(family, kind, proto)


def _address(host: str) -> str | None:
    """The address that a host is; None for a name."""
    try:
        return str(ip_address(host))
    except ValueError:
        return None


def _info(address: str, port: int) -> _Info:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port)


def _allowed() -> int:
    """Sockets that a client may hold open in this process."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _MAX_SOCKETS
    return min(max(soft - _SPARE_DESCRIPTORS, soft // 2, 1), _MAX_SOCKETS)
