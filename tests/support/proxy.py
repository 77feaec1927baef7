"""A TCP proxy in front of PostgreSQL whose connections can be cut and stalled, one by one.

async with Proxy(url) as proxy:
    ... connect to proxy.url ...
    proxy.cut("watch")     # reset the connections of that role
    proxy.stall()          # open, but nothing passes any more
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from contextlib import suppress
from typing import Any

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.support.served import Served

_PIECE = 65_536


class _Link:
    """One connection through the proxy."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client = client
        self.server = server
        self.role = ""
        self.open = asyncio.Event()
        self.open.set()

    def reset(self) -> None:
        for writer in (self.client, self.server):
            sock = writer.get_extra_info("socket")
            with suppress(OSError):  # it has ended already
                # A linger time of zero makes closing a reset.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


class Proxy(Served):
    """Passes bytes on to the server that ``target`` names, until changed.

    url: the same database by way of the proxy. TLS and GSS are off, so that the proxy can read
         who connects: the role is what follows ``cdc`` in the application's name.
    """

    def __init__(self, target: str) -> None:
        super().__init__()
        self._target = conninfo_to_dict(target)
        self._links: set[_Link] = set()
        self._stalled: set[str] = set()
        self._refused: set[str] = set()
        self._refusing = False
        self._stalled_all = False

    @property
    def url(self) -> str:
        target: dict[str, Any] = {**self._target, "host": "127.0.0.1", "port": self.port}
        return make_conninfo(**{**target, "sslmode": "disable", "gssencmode": "disable"})

    @property
    def roles(self) -> list[str]:
        """Of the connections that stand."""
        return sorted(link.role for link in self._links)

    def cut(self, role: str | None = None) -> int:
        """Resets the connections of a role, or all. Returns how many."""
        cut = [link for link in self._links if role in (None, link.role)]
        for link in cut:
            link.reset()
        return len(cut)

    def say(self, role: str, data: bytes) -> None:
        """Sends this to the clients of a role as if the server did, at once."""
        for link in self._links:
            if link.role == role:
                os.write(link.client.get_extra_info("socket").fileno(), data)

    def stall(self, role: str | None = None) -> None:
        """From now on nothing passes in the connections of a role (None: all), new ones included;
        they stay open."""
        if role is None:
            self._stalled_all = True
        else:
            self._stalled.add(role)
        for link in self._links:
            self._set(link)

    def go_on(self) -> None:
        """What was stalled passes again; what was refused is accepted."""
        self._stalled_all = self._refusing = False
        self._stalled.clear()
        self._refused.clear()
        for link in self._links:
            self._set(link)

    def refuse(self, role: str | None = None) -> None:
        """New connections of a role (None: all) are reset at once."""
        if role is None:
            self._refusing = True
        else:
            self._refused.add(role)

    def _set(self, link: _Link) -> None:
        if self._stalled_all or link.role in self._stalled:
            link.open.clear()
        else:
            link.open.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            writer.transport.abort()
            return
        try:
            answers, server = await asyncio.open_connection(
                str(self._target["host"]), int(self._target["port"] or 5432)
            )
        except OSError:
            writer.transport.abort()
            return
        link = _Link(writer, server)
        self._links.add(link)
        ways = [
            asyncio.create_task(self._pass(link, reader, server, asks=True)),
            asyncio.create_task(self._pass(link, answers, writer)),
        ]
        try:
            # When one side has gone, so does the other: no half-open connections here.
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            pass  # the block has ended
        finally:
            self._links.discard(link)
            for way in ways:
                way.cancel()
            for end in (writer, server):
                end.transport.abort()
            with suppress(asyncio.CancelledError):
                await asyncio.gather(*ways, return_exceptions=True)

    async def _pass(
        self,
        link: _Link,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        asks: bool = False,
    ) -> None:
        first = asks
        while piece := await reader.read(_PIECE):
            if first:
                link.role = _role(piece)
                if link.role in self._refused:
                    link.reset()
                    return
                self._set(link)
                first = False
            if not await self._passes(link, piece, asks=asks):
                return
            await link.open.wait()
            writer.write(piece)
            await writer.drain()

    async def _passes(self, link: _Link, piece: bytes, *, asks: bool) -> bool:
        """Whether a piece goes on: from the client (asks) or from the server. If not, the
        connection ends."""
        return True


def _role(startup: bytes) -> str:
    """Who connects, out of the startup message (PostgreSQL's protocol: pairs of C strings)."""
    fields = startup[8:].split(b"\0")
    names = dict(zip(fields[::2], fields[1::2], strict=False))
    return names.get(b"application_name", b"").decode().removeprefix("cdc").strip()
