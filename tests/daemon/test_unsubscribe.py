"""Mails of notices say how to stop them, to people and to mail programs (RFC 2369, RFC 8058)."""

from __future__ import annotations

import asyncio
from email.message import Message
from urllib.parse import urlsplit

import psycopg
import pytest

from cdc.webhooks import contacts
from tests.daemon.running import Log
from tests.daemon.test_mail import Post, change, contact, mailer, post
from tests.daemon.test_mail_server import answering
from tests.daemon.world import World
from tests.web.kit import Client, account, serving

__all__ = ["post"]

IT = "it@example.com"
ONE_CLICK = "List-Unsubscribe=One-Click"
# Longer than a line of a header, behind a proxy's path.
PAGES = "https://webhooks.of.the.interview-suite.example.com/integrations/webhooks/"


async def mailed(world: World, post: Post, pages: str | None) -> Message:
    """The next mail of notices."""
    await world.run("update cdc.contact set due_at = now()")
    sending = mailer(world, post.url)
    sending.pages = pages
    before = len(post.mails)
    await sending.run_once()
    assert len(post.mails) == before + 1
    return post.mails[-1][1]


def sent_headers(message: Message) -> dict[str, str]:
    """As they were on the wire: mail programs do not decode a link."""
    return {name: str(value) for name, value in message.raw_items()}


def text(message: Message) -> str:
    return bytes(message.get_payload(decode=True)).decode()


async def test_the_link_of_a_mail_stops_the_mails(
    world: World, post: Post, admin: psycopg.Connection
) -> None:
    """By one click in the mail program, at the address that the header has."""
    number = await contact(world, IT, notices=2)
    await contact(world, "other@example.com", company="2", notices=0)
    first = await mailed(world, post, PAGES)
    link = sent_headers(first)["List-Unsubscribe"]
    assert link.startswith(f"<{PAGES}unsubscribe/")
    assert link.endswith(">")
    assert sent_headers(first)["List-Unsubscribe-Post"] == ONE_CLICK
    assert f"To stop these mails: {link[1:-1]}" in text(first).splitlines()
    # The same in each mail: an old one works, too.
    await world.run("insert into cdc.mail select %s, max(id) from cdc.notice", number)
    assert sent_headers(await mailed(world, post, PAGES))["List-Unsubscribe"] == link
    await world.run("insert into cdc.mail select %s, max(id) from cdc.notice", number)
    path = urlsplit(link[1:-1]).path
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    with account(admin, world.url) as url, serving(url, world.url, CDC_SERVE_URL=PAGES) as served:
        client = Client(served.url)
        opened = await asyncio.to_thread(client, "GET", path)
        assert (opened.status, b"<button>Stop these mails" in opened.body) == (200, True)
        assert await world.one("select count(*) from cdc.contact") == 2
        done = await asyncio.to_thread(client, "POST", path, ONE_CLICK.encode(), form)
        assert (done.status, b"No more notices are mailed" in done.body) == (200, True)
    assert path.rpartition("/")[2] not in str(served.lines)
    assert await world.all("select email from cdc.contact") == [("other@example.com",)]
    await world.run("update cdc.contact set due_at = now()")
    await mailer(world, post.url).run_once()
    assert len(post.mails) == 2


async def test_a_link_that_is_not_https_is_opened_by_people_only(world: World, post: Post) -> None:
    await contact(world, IT)
    message = await mailed(world, post, "http://cdc.internal/")
    assert "<http://cdc.internal/unsubscribe/" in sent_headers(message)["List-Unsubscribe"]
    assert "List-Unsubscribe-Post" not in message


async def test_without_pages_the_mail_says_whom_to_ask(world: World, post: Post) -> None:
    await contact(world, IT)
    message = await mailed(world, post, None)
    assert "List-Unsubscribe" not in message
    assert "To stop these mails, ask the operator to remove this address." in text(message)


@pytest.mark.parametrize("confirmed", [False, True])
async def test_a_filter_that_quotes_the_link_does_not_give_it_away(
    world: World, confirmed: bool
) -> None:
    """Its answer is logged, and shown to all who may list contacts."""
    if confirmed:
        await contact(world, IT)
    else:
        change(world, contacts.add, "1", IT)
    code = str(await world.one("select code from cdc.contact"))
    log = Log()
    said = {"BODY": f"554 listed: https://cdc.example/x/{code}".encode()}
    async with answering(said) as (url, _):
        await mailer(world, url, log).run_once()
    [line] = log.all("mail cannot be sent")
    assert line.values["error"].endswith("554: listed: https://cdc.example/x/...")
    assert await world.one("select last_error from cdc.contact") == line.values["error"]
