"""Names are looked up once for all who wait, and remembered for a while; those that hang hold up
no other."""

from __future__ import annotations

import asyncio
import socket
from time import monotonic

import pytest

from cdc.deliver import Client, dns
from cdc.deliver.dns import Names, Resolver
from tests.deliver.kit import LOOPBACK, request_to
from tests.support.hostile import OK, Hostile, keeps_saying
from tests.support.nameserver import NameServer


class Server:
    """Answers when released."""

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
    monkeypatch.setattr(dns, "ANSWER_USED_S", 0.0)
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
    monkeypatch.setattr(dns, "KNOWN_ANSWERS", 10)
    names = Names(Server())
    for number in range(50):
        await names(f"{number}.example", 80)
        assert len(names._known) <= 10


# -- asked of a real name server -------------------------------------------------------------------


async def test_names_that_hang_hold_up_no_other() -> None:
    """However many companies have registered as many of them as they may; nor do they use up the
    sockets that there may be."""
    async with NameServer() as server, Hostile(keeps_saying(OK)) as peer:
        client = Client(
            LOOPBACK, deadline=30, most_open=10, look=Resolver(20.0, servers=[server.where])
        )
        port = peer.url().rsplit(":", 1)[1]
        for turn in ("not known yet", "known, while the first lookups still hang"):
            hanging = [
                asyncio.create_task(client.post(request_to(f"http://{n}.hangs.example:{port}")))
                for n in range(600)
            ]
            await asyncio.sleep(0)
            answers = [
                await client.post(request_to(f"http://{turn[:3]}{n}.good.example:{port}"))
                for n in range(3)
            ]
            assert [outcome.status for outcome in answers] == [200] * 3
            assert not any(task.done() for task in hanging)
            assert sum(name.endswith("hangs.example") for name in server.asked) == 600
            for task in hanging:
                task.cancel()
            await asyncio.wait(hanging)
        await client.close()


async def test_lookups_are_started_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that starts with thousands of names does not flood its name server; and who has no
    answer soon goes on without the place."""
    monkeypatch.setattr(dns, "LOOKUPS_STARTING", 5)
    monkeypatch.setattr(dns, "LOOKUP_STARTS_S", 0.2)
    async with NameServer() as server, Resolver(20.0, servers=[server.where]) as resolver:
        hanging = [asyncio.create_task(resolver(f"{n}.hangs.example", 80)) for n in range(12)]
        began = monotonic()
        await asyncio.sleep(0)
        assert await resolver("a.good.example", 80) == ["127.0.0.1"]
        # Twelve before it, five at a time: in the third turn.
        assert monotonic() - began >= 0.35
        assert not any(task.done() for task in hanging)
        resolver.close()
        got = await asyncio.gather(*hanging, return_exceptions=True)
    assert all(isinstance(one, socket.gaierror) for one in got)


async def test_names_that_hung_last_time_only_wait_for_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dns, "LOOKUPS_STARTING", 20)
    monkeypatch.setattr(dns, "SILENT_LOOKUPS_STARTING", 1)
    monkeypatch.setattr(dns, "_FIRST_WAIT_S", 60.0)  # nor does c-ares give up
    async with NameServer() as server:
        resolver = Resolver(0.2, servers=[server.where])
        names = [f"{n}.hangs.example" for n in range(20)]
        got = await asyncio.gather(*(resolver(name, 80) for name in names), return_exceptions=True)
        assert all(isinstance(one, socket.gaierror) for one in got)
        # A place that is taken is never given up; what is answered may take its time.
        monkeypatch.setattr(dns, "LOOKUP_STARTS_S", 3600.0)
        resolver._limit = 20.0
        hanging = [asyncio.create_task(resolver(name, 80)) for name in names]
        await asyncio.sleep(0)
        assert await resolver("a.good.example", 80) == ["127.0.0.1"]
        for task in hanging:
            task.cancel()
        await asyncio.wait(hanging)
        # One that answers again is as good as any other.
        server.hangs = "nobody.example"
        await resolver(names[0], 80)
        await asyncio.gather(*(resolver(name, 80) for name in names))
        resolver.close()


async def test_a_name_that_gets_no_answer_is_given_up() -> None:
    async with NameServer() as server, Resolver(0.2, servers=[server.where]) as resolver:
        with pytest.raises(socket.gaierror, match=r"no answer within 0\.2 s"):
            await resolver("a.hangs.example", 80)
        with pytest.raises(socket.gaierror, match="no such name"):
            await resolver("a.example", 80)


async def test_lookups_without_an_answer_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns, "MAX_LOOKUPS", 3)
    async with NameServer() as server, Resolver(20.0, servers=[server.where]) as resolver:
        hanging = [asyncio.create_task(resolver(f"{n}.hangs.example", 80)) for n in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(socket.gaierror, match="too many names"):
            await resolver("a.good.example", 80)
        resolver.close()
        await asyncio.gather(*hanging, return_exceptions=True)
        with pytest.raises(socket.gaierror):
            await resolver("a.good.example", 80)


async def test_answers_that_last_for_hours_are_not_kept_for_hours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nor may an answer hold addresses without end."""
    monkeypatch.setattr(dns, "ANSWER_USED_S", 0.0)
    async with NameServer() as server, Resolver(20.0, servers=[server.where]) as resolver:
        async with asyncio.timeout(20):
            while server.asked["a.good.example"] < 2:
                await resolver("a.good.example", 80)
        server.address = "127.0.0.2"
        async with asyncio.timeout(20):
            while await resolver("a.good.example", 80) != ["127.0.0.2"]:
                pass


async def test_endpoints_are_absolute_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search domain that answers for every name would get what is signed for another; one that
    fails would end the look-up. The operator's own proxy may have a short name."""
    monkeypatch.setenv("LOCALDOMAIN", "broken.example good.example")
    async with NameServer() as server:
        async with Resolver(5.0, servers=[server.where]) as resolver:
            with pytest.raises(socket.gaierror, match="no such name"):
                await resolver("hooks", 80)
            with pytest.raises(socket.gaierror, match="no such name"):
                await resolver("hooks.elsewhere", 80)
            assert await resolver("a.good.example", 80) == ["127.0.0.1"]
        assert set(server.asked) == {"hooks", "hooks.elsewhere", "a.good.example"}
        monkeypatch.setenv("LOCALDOMAIN", "good.example")
        async with Resolver(5.0, servers=[server.where], search=True) as resolver:
            assert await resolver("proxy", 80) == ["127.0.0.1"]
