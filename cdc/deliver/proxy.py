"""The way out through an HTTP proxy: a tunnel is asked for (CONNECT), for http endpoints as well.

So what is sent is the same with and without a proxy, TLS is with the receiver, and no answer of the
proxy's can be taken for the receiver's: all of them end here.
"""

from __future__ import annotations

import asyncio
import base64
import re
import socket
from collections.abc import Sequence
from http import HTTPStatus
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import aiohappyeyeballs

from cdc.causes import detail
from cdc.deliver.dns import Lookup
from cdc.deliver.outcome import ProxyFailed, phrase
from cdc.settings.kinds import split_exempt
from cdc.wording import bracketed

PROXY_HEAD_BYTES = 8192
"""Bytes of its answer to CONNECT; an honest one has some hundred."""

_STATUS = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: [^\r\n]*)?\r\n")

_LOGIN = (HTTPStatus.PROXY_AUTHENTICATION_REQUIRED, HTTPStatus.UNAUTHORIZED)
"""How a proxy says that it does not know us. 401 is for servers, and said by some all the same."""

_NO_WAY = (HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT)
"""How a proxy says that it could not reach the endpoint."""

# The login schemes that a proxy accepts, on one line or several; a realm may hold any word.
_OFFER = re.compile(rb"(?im)^Proxy-Authenticate:(.*)$")
_QUOTED = re.compile(rb'"[^"\r\n]*"')
_SCHEME = re.compile(r"(?i)\b(?:Basic|Bearer|Digest|Kerberos|Negotiate|NTLM)\b")

PROXY_TRIED_ADDRESSES = 4
"""Addresses of one name that are asked for, one after the other."""


class _Head(NamedTuple):
    """An answer to CONNECT. schemes: by which a login is accepted, where it says so."""

    status: int
    schemes: list[str]


class Proxy:
    """An HTTP proxy that tunnels.

    url:      ``http://user:password@host:port``; user and password may be left out.
    resolves: it looks names up; otherwise it is only ever given addresses.
    exempt:   hosts that are dialled directly, as ``settings.kinds.exempt`` accepts them.
    name:     host and port, to show. User and password are never shown.
    """

    def __init__(self, url: str, *, resolves: bool = False, exempt: Sequence[str] = ()) -> None:
        parts = urlsplit(url)
        self._exempt = [_exemption(entry) for entry in exempt]
        self.resolves = resolves
        self._host = parts.hostname or ""
        self._port = parts.port or 80
        self.name = f"{bracketed(self._host)}:{self._port}"
        self._login = ""
        if parts.username is not None:
            login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            token = base64.b64encode(login.encode()).decode()
            self._login = f"Proxy-Authorization: Basic {token}\r\n"

    def exempts(self, host: str, port: int) -> bool:
        """Whether this host (a name, or an address in its usual form) is dialled directly."""
        return any(one.covers(host, port) for one in self._exempt)

    async def dial(
        self, hosts: Sequence[str], port: int, look: Lookup, limit: float
    ) -> socket.socket:
        """A socket that leads to the first of `hosts` that the proxy can reach, within `limit`
        seconds. Raises ProxyFailed."""
        stage = "be reached"
        failed = ProxyFailed("")
        try:
            async with asyncio.timeout(limit):
                for host in hosts[:PROXY_TRIED_ADDRESSES]:
                    stage = "be reached"
                    sock = await self._reach(look)
                    stage = "open a way to the endpoint"
                    try:
                        head = await self._ask(sock, host, port)
                    except BaseException:
                        sock.close()
                        raise
                    if 200 <= head.status < 300:
                        return sock
                    sock.close()
                    failed = ProxyFailed(self._refusal(head))
                    if head.status in _LOGIN:
                        break  # it would say so for all of them
        except TimeoutError:
            raise ProxyFailed(detail("proxy slow", proxy=self.name, what=stage)) from None
        raise failed

    def _refusal(self, head: _Head) -> str:
        said = f"{head.status} {phrase(head.status)}".rstrip()
        if head.status not in _LOGIN:
            code = "proxy no way" if head.status in _NO_WAY else "proxy denied"
            return detail(code, proxy=self.name, status=said)
        if head.schemes and "basic" not in map(str.lower, head.schemes):
            schemes = " or ".join(head.schemes)
            return detail("proxy scheme", proxy=self.name, schemes=schemes)
        code = "proxy login" if self._login else "proxy no login"
        return detail(code, proxy=self.name, status=said)

    async def reach(self, look: Lookup, limit: float) -> None:
        """Raise ProxyFailed unless it takes a connection, within `limit` seconds."""
        try:
            async with asyncio.timeout(limit):
                (await self._reach(look)).close()
        except TimeoutError:
            message = detail("proxy slow", proxy=self.name, what="be reached")
            raise ProxyFailed(message) from None

    async def _reach(self, look: Lookup) -> socket.socket:
        """A connection to it. The guard is not asked: only the operator can name it."""
        try:
            try:
                found = [str(ip_address(self._host))]
            except ValueError:
                found = await look(self._host, self._port)
            return await aiohappyeyeballs.start_connection(
                [
                    (
                        socket.AF_INET6 if ":" in address else socket.AF_INET,
                        socket.SOCK_STREAM,
                        socket.IPPROTO_TCP,
                        "",
                        (address, self._port),
                    )
                    for address in found
                ],
                happy_eyeballs_delay=0.25,
            )
        except OSError as error:
            why = error.strerror or type(error).__name__
            message = detail("proxy unreachable", proxy=self.name, why=why)
            raise ProxyFailed(message) from None

    async def _ask(self, sock: socket.socket, host: str, port: int) -> _Head:
        """Its answer to CONNECT; behind it nothing has been read."""
        target = f"{bracketed(host)}:{port}"
        ask = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{self._login}\r\n"
        loop = asyncio.get_running_loop()
        head = b""
        try:
            await loop.sock_sendall(sock, ask.encode("ascii"))
            while not head.endswith(b"\r\n\r\n"):
                # By single bytes: what follows belongs to the receiver. It is once a connection,
                # and mostly there already.
                byte = await loop.sock_recv(sock, 1)
                if not byte:
                    raise self._broken("proxy broke off", "closed")
                head += byte
                if len(head) > PROXY_HEAD_BYTES:
                    raise self._broken("proxy not http", "headers without end")
        except ProxyFailed:
            raise
        except OSError as error:
            raise self._broken("proxy broke off", error.strerror or type(error).__name__) from None
        found = _STATUS.match(head)
        if found is None:
            raise self._broken("proxy not http", "no status line")
        offers = b"\n".join(_OFFER.findall(_QUOTED.sub(b"", head))).decode("latin-1")
        return _Head(int(found[1]), list(dict.fromkeys(_SCHEME.findall(offers))))

    def _broken(self, code: str, why: str) -> ProxyFailed:
        return ProxyFailed(detail(code, proxy=self.name, why=why))


class _Exemption(NamedTuple):
    """An entry of CDC_NO_PROXY. name: empty for all. inside: only what is below the name."""

    name: str
    network: IPv4Network | IPv6Network | None
    port: int | None
    inside: bool

    def covers(self, host: str, port: int) -> bool:
        if self.port is not None and self.port != port:
            return False
        if self.network is not None:
            try:
                return ip_address(host) in self.network
            except ValueError:
                return False
        same = host == self.name and not self.inside
        return not self.name or same or host.endswith(f".{self.name}")


def _exemption(entry: str) -> _Exemption:
    """An entry as it was accepted by the settings."""
    host, port = split_exempt(entry)
    try:
        return _Exemption(host, ip_network(host), port, inside=False)
    except ValueError:
        name = host.lower().removesuffix(".")
        if name == "*":
            return _Exemption("", None, port, inside=False)
        inside = name.startswith((".", "*."))
        return _Exemption(name.removeprefix("*").removeprefix("."), None, port, inside)
