"""The wire leaves nothing in the event loop, however its session ends."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

import psycopg
import pytest

from cdc.daemon.store.session import open_session, run
from cdc.daemon.store.wire import Wire
from tests.daemon.running import eventually
from tests.support.proxy import Proxy

RING = b"A" + struct.pack("!ii", 13, 1) + b"cdc\0\0"


@asynccontextmanager
async def taking(number: int) -> AsyncIterator[None]:
    """Another connection has this descriptor meanwhile, and reads from it."""
    with ExitStack() as stack:
        pair = [stack.enter_context(end) for end in socket.socketpair()]
        while number not in {end.fileno() for end in pair}:
            assert max(end.fileno() for end in pair) < number + 50, "somebody has it already"
            pair = [stack.enter_context(end) for end in socket.socketpair()]
        ours, other = sorted(pair, key=lambda end: end.fileno() != number)
        ours.setblocking(False)
        reading = asyncio.create_task(asyncio.get_running_loop().sock_recv(ours, 1))
        await asyncio.sleep(0)
        yield
        other.send(b".")
        async with asyncio.timeout(5):
            assert await reading == b"."


async def test_it_hears_a_ring_and_then_a_reset(database: str) -> None:
    """uvloop closes what reads a socket that reports an error. A ring that came just before was
    read there, the error was not, and the next statement ended in a RuntimeError."""
    async with Proxy(database) as proxy:
        conn = await open_session(proxy.url, "watch")
        wire, wake = Wire(conn), asyncio.Event()
        proxy.say("watch", RING)
        proxy.cut("watch")
        await eventually(lambda: "watch" not in proxy.roles, "it is cut")
        with wire.listening(wake):
            async with asyncio.timeout(5):
                await wake.wait()
        assert wire.rung
        with pytest.raises(psycopg.OperationalError):
            await run(conn, "ping")
        await conn.close()


@pytest.mark.parametrize("by_wire", [True, False], ids=["wire", "psycopg"])
async def test_a_lost_session_leaves_its_descriptor_to_others(database: str, by_wire: bool) -> None:
    """The number of its socket was another connection's by the time at which the daemon tidied up:
    it ended with a RuntimeError, in the middle of a reconnection."""
    async with Proxy(database) as proxy:
        conn = await open_session(proxy.url, "watch")
        wire, number = Wire(conn), conn.fileno()
        await wire.run("ping", [])
        with wire.listening(asyncio.Event()):
            proxy.cut("watch")
        with pytest.raises(psycopg.OperationalError):
            await (wire.run("ping", []) if by_wire else run(conn, "ping"))
        async with taking(number):
            with pytest.raises(psycopg.OperationalError):
                await wire.run("ping", [])
            await conn.close()


async def test_a_statement_that_is_cancelled_leaves_nothing(database: str) -> None:
    conn = await open_session(database, "watch")
    wire = Wire(conn)
    asking = asyncio.create_task(wire.run("ping", []))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    number = conn.fileno()
    await conn.close()
    async with taking(number):
        pass


async def test_rings_that_come_beside_an_answer_are_heard(database: str) -> None:
    conn = await open_session(database, "watch")
    await conn.execute("listen cdc")
    wire = Wire(conn)
    await wire.run("ping", [])
    silent = not wire.rung
    with psycopg.connect(database, autocommit=True) as writer:
        writer.execute("notify cdc")
    await wire.run("ping", [])
    assert silent
    assert wire.rung
    await conn.close()
