"""A name server on this machine: answers for some names, and leaves others without an answer."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import Counter
from typing import Any, Self

A = 1
_HEADER, _ANSWERED, _UNKNOWN = struct.Struct("!HHHHHH"), 0x8180, 0x8183
_FAILED = 0x8182


class NameServer(asyncio.DatagramProtocol):
    """Names that end in ``good.example`` are `address` (for `ttl` seconds), those in `hangs` get no
    answer; other names of ``hangs.example`` are `address`, too. ``empty.example`` has no address,
    for names in ``broken.example`` the server fails, and there are no others.

    asked: how often for the address of each name.
    """

    def __init__(self, address: str = "127.0.0.1", ttl: int = 3600) -> None:
        self.address = address
        self.ttl = ttl
        self.hangs = "hangs.example"
        self.asked: Counter[str] = Counter()
        self._transport: asyncio.DatagramTransport | None = None

    async def __aenter__(self) -> Self:
        # A burst of questions waits here until the loop comes to them.
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        sock.setblocking(False)
        sock.bind(("127.0.0.1", 0))
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, sock=sock)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._transport is not None
        self._transport.close()

    @property
    def where(self) -> str:
        """Its address and port."""
        assert self._transport is not None
        host, port = self._transport.get_extra_info("sockname")
        return f"{host}:{port}"

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, source: Any) -> None:
        labels, end = [], _HEADER.size
        while length := data[end]:
            labels.append(data[end + 1 : end + 1 + length].decode("ascii"))
            end += 1 + length
        question = data[_HEADER.size : end + 5]
        name, (kind,) = ".".join(labels), struct.unpack("!H", question[-4:-2])
        self.asked[name] += kind == A
        if name.endswith(self.hangs):
            return
        known = name.endswith(("good.example", "hangs.example"))
        answer = b""
        if known and kind == A:
            answer = struct.pack("!HHHIH", 0xC00C, A, 1, self.ttl, 4)
            answer += socket.inet_aton(self.address)
        (number,) = struct.unpack("!H", data[:2])
        flags = _ANSWERED if known or name == "empty.example" else _UNKNOWN
        if name.endswith("broken.example"):
            flags = _FAILED
        header = _HEADER.pack(number, flags, 1, bool(answer), 0, 0)
        assert self._transport is not None
        self._transport.sendto(header + question + answer, source)
