"""Names are looked up once for all who wait, and remembered for a while."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import pytest

from cdc.deliver import dns
from cdc.deliver.dns import Gate, Names, lookup


class Server:
    """Answers when told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.answer: list[str] | OSError = ["192.0.2.1"]
        self.may = asyncio.Event()
        self.may.set()

    async def __call__(self, name: str, port: int) -> list[str]:
        self.asked += 1
        await self.may.wait()
        if isinstance(self.answer, OSError):
            raise self.answer
        return self.answer


async def test_many_ask_once() -> None:
    server = Server()
    names = Names(server)
    got = await asyncio.gather(*(names("a.example", 80) for _ in range(50)))
    assert got == [["192.0.2.1"]] * 50
    assert await names("a.example", 80) == ["192.0.2.1"]
    assert server.asked == 1
    await names("b.example", 80)
    assert server.asked == 2


async def test_an_answer_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()
    names = Names(server)
    await names("a.example", 80)
    monkeypatch.setattr(dns, "TTL", 0.0)
    server.answer = ["192.0.2.2"]
    assert await names("a.example", 80) == ["192.0.2.2"]


async def test_a_failure_is_not_remembered() -> None:
    server = Server()
    names = Names(server)
    server.answer = socket.gaierror(socket.EAI_AGAIN, "later")
    got = await asyncio.gather(*(names("a.example", 80) for _ in range(3)), return_exceptions=True)
    assert all(isinstance(one, socket.gaierror) for one in got)
    server.answer = ["192.0.2.1"]
    assert await names("a.example", 80) == ["192.0.2.1"]


@pytest.mark.parametrize("answer", [["192.0.2.1"], OSError("gone")])
async def test_who_gives_up_takes_nothing_from_the_others(answer: list[str] | OSError) -> None:
    server = Server()
    server.answer = answer
    server.may.clear()
    names = Names(server)
    first = asyncio.create_task(names("a.example", 80))
    other = asyncio.create_task(names("a.example", 80))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    server.may.set()
    got = (await asyncio.gather(other, return_exceptions=True))[0]
    assert got is answer or got == answer
    assert server.asked == 1


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns, "MOST", 10)
    names = Names(Server())
    for number in range(50):
        await names(f"{number}.example", 80)
        assert names.remembered <= 10


async def test_names_that_hang_hold_up_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a company that has registered as many as it may, at a name server that never answers."""
    over = threading.Event()
    real = socket.getaddrinfo

    def answer(name: str, *rest: Any, **more: Any) -> Any:
        if name.endswith("tarpit.example"):
            over.wait()
            raise socket.gaierror(socket.EAI_AGAIN, "later")
        return real("127.0.0.1", *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    gate = Gate()
    tarpits = [f"{number}.tarpit.example" for number in range(100)]
    try:
        for _ in ("not known yet", "known, while the first lookups still hang"):
            async with asyncio.TaskGroup() as group:
                hanging = [group.create_task(ended(name, gate)) for name in tarpits]
                await asyncio.sleep(0)
                assert await lookup("good.example", 80, 20.0, gate) == ["127.0.0.1"]
            assert all(task.result() for task in hanging)
    finally:
        over.set()


async def ended(name: str, gate: Gate) -> bool:
    """Without an answer."""
    try:
        await lookup(name, 80, 0.5, gate)
    except socket.gaierror:
        return True
    return False
