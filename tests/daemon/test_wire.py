"""The wire leaves nothing in the event loop, however its session ends."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress

import psycopg
import pytest

from cdc.daemon.store.session import open_session, run
from cdc.daemon.store.wire import Wire
from tests.daemon.running import eventually
from tests.support.proxy import Proxy

RING = b"A" + struct.pack("!ii", 13, 1) + b"cdc\0\0"


def until_sent(sock: socket.socket, end: bytes) -> None:
    """Waits until what lies in the socket ends so; nothing else runs meanwhile."""
    deadline = time.monotonic() + 5
    lies = b""
    while not lies.endswith(end):
        assert time.monotonic() < deadline, lies
        with suppress(BlockingIOError):
            lies = sock.recv(65_536, socket.MSG_PEEK)


@asynccontextmanager
async def taking(number: int) -> AsyncIterator[None]:
    """Another connection has this descriptor meanwhile, and reads from it."""
    with ExitStack() as stack:
        pair = [stack.enter_context(end) for end in socket.socketpair()]
        while number not in {end.fileno() for end in pair}:
            assert max(end.fileno() for end in pair) < number + 50, "it is in use already"
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
        wire = Wire(conn)
        proxy.say("watch", RING)
        proxy.cut("watch")
        await eventually(lambda: "watch" not in proxy.roles, "it is cut")
        assert await wire.listen(5)
        assert wire.rung
        with pytest.raises(psycopg.OperationalError):
            await run(conn, "ping")
        wire.close()
        await conn.close()


@pytest.mark.parametrize("by_wire", [True, False], ids=["wire", "psycopg"])
async def test_a_lost_session_leaves_its_descriptor_to_others(database: str, by_wire: bool) -> None:
    """The number of its socket was another connection's by the time at which the daemon tidied up:
    it ended with a RuntimeError, in the middle of a reconnection."""
    async with Proxy(database) as proxy:
        conn = await open_session(proxy.url, "watch")
        wire, number = Wire(conn), conn.fileno()
        await wire.run("ping", [])
        listening = asyncio.create_task(wire.listen(5))
        await asyncio.sleep(0)
        proxy.cut("watch")
        assert await listening
        with pytest.raises(psycopg.OperationalError):
            await (wire.run("ping", []) if by_wire else run(conn, "ping"))
        async with taking(number):
            with pytest.raises(psycopg.OperationalError):
                await wire.run("ping", [])
            wire.close()
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
    wire.close()
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
    wire.close()
    await conn.close()


async def test_a_ring_right_behind_an_answer_ends_the_sleep(database: str) -> None:
    """Both were read from the socket at once: nothing was left in it to be woken by, and the ring
    was heard at the next slow poll."""
    conn = await open_session(database, "watch")
    await conn.execute("listen cdc")
    wire = Wire(conn)
    await wire.run("ping", [])
    with (
        psycopg.connect(database, autocommit=True) as writer,
        socket.socket(fileno=os.dup(conn.fileno())) as sock,
    ):
        asking = asyncio.create_task(wire.run("ping", []))
        await asyncio.sleep(0)
        # The loop stands still meanwhile.
        until_sent(sock, b"Z\0\0\0\x05I")
        writer.execute("notify cdc")
        until_sent(sock, b"cdc\0\0")
    await asking
    assert await wire.listen(5)
    assert wire.rung
    wire.close()
    await conn.close()


async def test_it_and_psycopg_take_turns(database: str) -> None:
    """Its reader goes on from one statement to the next, and leaves what is not for it."""
    conn = await open_session(database, "watch")
    await conn.execute("listen cdc")
    wire = Wire(conn)
    with psycopg.connect(database, autocommit=True) as writer:
        for _ in range(3):
            await wire.run("ping", [])
            assert await run(conn, "clock")
            await conn.execute("begin")
            await conn.execute("rollback")  # psycopg deallocates all statements after that
            writer.execute("notify cdc")
            for _ in range(3):
                await asyncio.sleep(0)
            wire.rung = False
            assert await wire.listen(5)
            assert wire.rung
    assert not await wire.listen(0.001)
    wire.close()
    await conn.close()


async def test_a_statement_without_an_answer_ends_the_session(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdc.daemon.store.session.ANSWER_WITHIN_S", 0.2)
    async with Proxy(database) as proxy:
        conn = await open_session(proxy.url, "watch")
        wire = Wire(conn)
        await wire.run("ping", [])
        assert not await wire.listen(0.001)
        proxy.stall("watch")
        with pytest.raises(psycopg.OperationalError, match="no answer to 'ping'"):
            async with asyncio.timeout(5):
                await wire.run("ping", [])
        wire.close()
        await conn.close()
