"""A small HTTP proxy that tunnels, on loopback, and can be scripted to refuse."""

from __future__ import annotations

import asyncio

from tests.support.served import Served


class Tunnels(Served):
    """async with Tunnels(to=peer.port) as proxy: ... Client(proxy=Proxy(proxy.url)) ...

    to:     where every tunnel really leads: a port of this machine, whatever was asked for.
    answer: said to each CONNECT; where it begins with a 2xx, the tunnel is opened.
            An empty one closes the connection, None says nothing at all.
    refuses: targets that are answered 502.

    asked:  the targets of all CONNECTs, in order.
    heads:  what each CONNECT held besides.
    """

    def __init__(
        self,
        to: int = 9,
        answer: bytes | None = b"HTTP/1.1 200 Connection established\r\n\r\n",
        refuses: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self._to = to
        self.answer = answer
        self._refuses = refuses
        self.asked: list[str] = []
        self.heads: list[bytes] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Ends the tunnels that stand."""
        for task in self._tasks:
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._tunnel(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client has gone, or the block has ended
        finally:
            writer.transport.abort()

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, _ = head.split(b" ", 2)
        assert method == b"CONNECT"
        self.asked.append(target.decode())
        self.heads.append(head)
        answer = self.answer
        if target.decode() in self._refuses:
            answer = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"
        if answer is None:
            await reader.read()
            return
        writer.write(answer)
        await writer.drain()
        if not answer.startswith((b"HTTP/1.1 2", b"HTTP/1.0 2")):
            return
        inner, out = await asyncio.open_connection("127.0.0.1", self._to)
        try:
            ways = [
                asyncio.create_task(_pass(reader, out)),
                asyncio.create_task(_pass(inner, writer)),
            ]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
        finally:
            out.transport.abort()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(65_536):
        writer.write(piece)
        await writer.drain()
