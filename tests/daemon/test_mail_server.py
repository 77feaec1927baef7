"""Mail servers that do not take a mail, or say odd things: none is lost, and none is sent twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from cdc.daemon import mail
from tests.daemon.test_mail import contact, mailer
from tests.daemon.world import World


@asynccontextmanager
async def answering(said: dict[str, bytes]) -> AsyncIterator[tuple[str, list[str]]]:
    """The URL of a mail server that answers these commands in its own way, empty: never; and the
    commands that it got. "" is the greeting, "BODY" the mail."""
    usual = {"": b"220 x", "DATA": b"354 x", "QUIT": b"221 x", **said}
    asked: list[str] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def answer(command: str) -> None:
            asked.append(command)
            writer.write(text + b"\r\n" if (text := usual.get(command, b"250 x")) else b"")

        try:
            await answer("")
            while line := await reader.readline():
                await answer(command := line[:4].decode().strip().upper())
                if command == "DATA" and usual["DATA"].startswith(b"354"):
                    await reader.readuntil(b"\r\n.\r\n")
                    await answer("BODY")
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked
    finally:
        server.close()


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ({"": b""}, "has not taken it within 1 s"),
        ({"": b"421 busy"}, "the mail server answered 421: busy"),
        ({"MAIL": b"450 later"}, "the mail server answered 450: later"),
        ({"RCPT": b"451 greylisted"}, "the mail server answered 451: greylisted"),
        ({"RCPT": b"550 caf\xe9 \0 \x1b[2J"}, "the mail server answered 550: caf [2J"),
        ({"RCPT": b"nonsense"}, "Malformed SMTP response line"),
        ({"DATA": b"554 no"}, "the mail server answered 554: no"),
        ({"BODY": b"554 spam"}, "the mail server answered 554: spam"),
        ({"BODY": b""}, "has not taken it within 1 s"),
    ],
    ids=str,
)
async def test_a_mail_server_that_does_not_take_it(
    world: World, said: dict[str, bytes], error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail, "MAIL_WITHIN_S", 1.0)
    await contact(world, "it@example.com")
    async with answering(said) as (url, asked):
        await mailer(world, url).run_once()
        await mailer(world, url).run_once()  # it is not due again at once
    assert asked.count("") == 1
    [(tries, kept)] = await world.all(
        "select tries, last_error from cdc.contact where claimed_until is null"
        " and due_at > now() + interval '30 s'"
    )
    assert (tries, await world.one("select count(*) from cdc.mail")) == (1, 1)
    assert error in kept


@pytest.mark.parametrize("said", [b"", b"500 what", b"nonsense"])
async def test_what_was_taken_is_not_sent_again(
    world: World, said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the server answers to QUIT: it was sent again, at each try."""
    monkeypatch.setattr(mail, "MAIL_WITHIN_S", 5.0)
    monkeypatch.setattr(mail, "QUIT_WITHIN_S", 0.1)
    await contact(world, "it@example.com")
    async with answering({"QUIT": said}) as (url, asked):
        await mailer(world, url).run_once()
        assert asked[-1] == "QUIT"
    assert await world.all("select tries, last_error from cdc.contact") == [(0, None)]
    assert await world.one("select count(*) from cdc.mail") == 0
