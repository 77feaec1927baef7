"""Notices by mail: to confirmed addresses only, in few mails, and none is lost or sent twice."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email import message_from_bytes
from email.message import Message
from email.policy import default
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from aiosmtpd.smtp import SMTP, AuthResult

from cdc.daemon import mail
from cdc.daemon.mail import Mailer, MailServer
from cdc.daemon.maintenance import schedule
from cdc.errors import CdcError, UsageError
from cdc.postgres import connections
from cdc.telemetry import Observer
from cdc.telemetry.repeats import Repeats
from cdc.webhooks import contacts
from cdc.webhooks.audit import Actor
from tests.daemon.running import Log, Running, settings
from tests.daemon.world import World
from tests.support.certificates import Authority

SENDER = "cdc@example.com"


class Post:
    """A mail server. refuse: addresses that it does not know.

    meanwhile: called when it has a mail and has not answered. answer: what it says to that mail.
    """

    def __init__(self) -> None:
        self.mails: list[tuple[str, Message]] = []
        self.refuse: set[str] = set()
        self.meanwhile: Callable[[], object] = lambda: None
        self.answer = "250 OK"
        self.server: asyncio.Server | None = None

    # aiosmtpd calls these by name.
    async def handle_RCPT(
        self, server: Any, session: Any, envelope: Any, address: str, options: Any
    ) -> str:
        if address in self.refuse:
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        [to] = envelope.rcpt_tos
        self.mails.append((to, message_from_bytes(envelope.content, policy=default)))
        self.meanwhile()
        return self.answer

    @property
    def url(self) -> str:
        assert self.server is not None
        port = self.server.sockets[0].getsockname()[1]
        return f"smtp://127.0.0.1:{port}"

    def of(self, to: str) -> list[Message]:
        return [message for address, message in self.mails if address == to]


@pytest.fixture
async def post() -> AsyncIterator[Post]:
    made = Post()
    loop = asyncio.get_running_loop()
    made.server = await loop.create_server(lambda: SMTP(made, loop=loop), "127.0.0.1", 0)
    yield made
    made.server.close()


def mailer(world: World, url: str, log: Log | None = None, **more: Any) -> Mailer:
    observer = Observer(log=log or Log(), repeats=Repeats(first=0.0))
    server = MailServer.of(settings(world.url, smtp_url=url, smtp_sender=SENDER, **more))
    return Mailer(world.url, observer, server, SENDER, "https://cdc.example/")


def change(world: World, operation: Any, *values: Any) -> Any:
    engine: sa.Engine = connections.engine(world.url)
    try:
        with engine.begin() as conn:
            return operation(conn, Actor("test"), *values)
    finally:
        engine.dispose()


async def contact(world: World, email: str, company: str = "1", notices: int = 1) -> int:
    """A confirmed one, with some notices to get."""
    row, code = change(world, contacts.add, company, email)
    change(world, contacts.confirm, code)
    await world.run(
        "with made as (insert into cdc.notice (kind, webhook_id, company, since, cause, sentence)"
        " select 'dead', n, %s, now(), '', 'Notice ' || n || ' for ' || %s"
        "   from generate_series(1, %s) n on conflict do nothing returning id)"
        " insert into cdc.mail select %s, id from made",
        *(company, email, notices, row["id"]),
    )
    return int(row["id"])


def text(message: Message) -> str:
    return str(message.get_payload())


async def test_an_address_is_confirmed_before_it_gets_notices(
    world: World, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail, "MAIL_EVERY_S", 0.05)
    monkeypatch.setattr(schedule, "NOTICES_EVERY_S", 0.05)
    monkeypatch.setattr(schedule, "SCHEDULE_READ_EVERY_S", 0.05)
    first, second, other = [await world.hook("candidate", company=c) for c in ("1", "1", "2")]
    row, code = change(world, contacts.add, "1", "it@example.com")
    sending: dict[str, Any] = {
        "smtp_url": post.url,
        "smtp_sender": SENDER,
        "serve_url": "https://cdc.example/x",
    }
    suspend = "update cdc.webhook set state = 'suspended', reason = 'a test' where id = %s"
    async with Running(world.url, **sending) as daemon:
        await daemon.until("mail sent", contact=row["id"], notices=0)
        [(_, asked)] = post.mails
        assert f"https://cdc.example/x/confirm/{code}" in text(asked)
        assert (asked["From"], asked["To"]) == (SENDER, "it@example.com")
        await world.run(suspend, other.id)
        await daemon.until("notice", webhook=other.id)
        assert await world.one("select count(*) from cdc.mail") == 0
        change(world, contacts.confirm, code)
        await world.run(suspend, first.id)
        await daemon.until("mail sent", contact=row["id"], notices=1)
        # The next ones wait, and come together.
        await world.run(suspend, second.id)
        await daemon.until("notice", webhook=second.id)
        assert await world.one(
            "select due_at > now() + interval '14 minutes' from cdc.contact where id = %s",
            row["id"],
        )
        await world.run("update cdc.contact set due_at = now()")
        await daemon.until("mail sent", times=2, notices=1)
    _, one, two = [message for _, message in post.mails]
    assert f"Webhook {first.id} was suspended" in text(one)
    assert f"Webhook {second.id} was suspended" in text(two)
    assert one["Subject"] == "A notice about your webhooks"
    assert one["Message-ID"] != two["Message-ID"]
    assert one.get_content_type() == "text/plain"
    assert await world.one("select count(*) from cdc.mail") == 0


async def test_a_mail_server_that_is_down_loses_none(world: World, post: Post, down: str) -> None:
    number = await contact(world, "it@example.com", notices=3)
    log = Log()
    port = down.split(":")[2].partition("/")[0]
    await mailer(world, f"smtp://127.0.0.1:{port}", log).run_once()
    assert log.all("mail cannot be sent", contact=number)
    assert await world.all(
        "select tries, claimed_until is null, last_error <> '',"
        " due_at > now() + interval '30 s' from cdc.contact"
    ) == [(1, True, True, True)]
    assert await world.one("select count(*) from cdc.mail") == 3
    await mailer(world, post.url).run_once()
    assert post.mails == [], "it is not due yet"
    await world.run("update cdc.contact set due_at = now()")
    await mailer(world, post.url).run_once()
    [(_, message)] = post.mails
    assert message["Subject"] == "3 notices about your webhooks"
    assert [line for line in text(message).split("\n") if "Notice 2 for" in line]
    assert await world.all("select tries, last_error from cdc.contact") == [(0, None)]


async def test_two_daemons_send_each_mail_once(world: World, post: Post) -> None:
    for number in range(6):
        await contact(world, f"it{number}@example.com", company=str(number + 1))
    await asyncio.gather(*(mailer(world, post.url).run_once() for _ in range(2)))
    assert sorted(to for to, _ in post.mails) == [f"it{n}@example.com" for n in range(6)]
    # A claim of a daemon that was killed ends.
    await world.run(
        "insert into cdc.mail select c.id, n.id"
        " from cdc.contact c join cdc.notice n using (company)"
    )
    await world.run(
        "update cdc.contact set due_at = now(), claimed_until = now() + interval '4 minutes'"
    )
    await mailer(world, post.url).run_once()
    assert len(post.mails) == 6
    await world.run("update cdc.contact set claimed_until = now()")
    await mailer(world, post.url).run_once()
    assert len(post.mails) == 12
    # And a receiver can see that it is the same.
    assert len({message["Message-ID"] for _, message in post.mails}) == 6
    # Not so what another installation sends in the name of the same domain, with the same numbers,
    # or this one after a restore.
    for number, other in enumerate(
        ("update cdc.contact set code = reverse(code)", "update cdc.notice set at = now()")
    ):
        await world.run(other)
        await world.run(
            "insert into cdc.mail select c.id, n.id"
            " from cdc.contact c join cdc.notice n using (company)"
        )
        await world.run("update cdc.contact set due_at = now()")
        await mailer(world, post.url).run_once()
        assert len({message["Message-ID"] for _, message in post.mails}) == 12 + 6 * number


async def test_an_address_that_is_refused_stops_no_other(world: World, post: Post) -> None:
    post.refuse = {"gone@example.com"}
    gone = await contact(world, "gone@example.com")
    await contact(world, "here@example.com", company="2")
    await mailer(world, post.url).run_once()
    assert [to for to, _ in post.mails] == ["here@example.com"]
    [(error,)] = await world.all("select last_error from cdc.contact where id = %s", gone)
    assert "no such user" in error


# -- by TLS ----------------------------------------------------------------------------------------

PASSWORD = "of the mail account"


def _let_in(server: Any, session: Any, envelope: Any, how: str, given: Any) -> AuthResult:
    return AuthResult(success=(given.login, given.password) == (b"me", PASSWORD.encode()))


@asynccontextmanager
async def speaking_tls(post: Post, context: ssl.SSLContext, scheme: str) -> AsyncIterator[str]:
    """The URL of a server that takes mail by TLS alone, and after a login."""
    loop = asyncio.get_running_loop()
    implicit = scheme == "smtps"
    # aiosmtpd does not see that a connection was encrypted from the first byte on.
    more: dict[str, Any] = (
        {"auth_require_tls": False}
        if implicit
        else {"tls_context": context, "require_starttls": True, "auth_required": True}
    )
    server = await loop.create_server(
        lambda: SMTP(post, loop=loop, authenticator=_let_in, **more),
        "127.0.0.1",
        0,
        ssl=context if implicit else None,
    )
    try:
        yield f"{scheme}://me@127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


@pytest.fixture
def password(tmp_path: Path) -> Path:
    file = tmp_path / "password"
    file.write_text(f"{PASSWORD}\n")
    return file


@pytest.mark.parametrize("scheme", ["smtp", "smtps"], ids=["STARTTLS", "from the first byte"])
async def test_by_tls_to_a_server_of_a_private_authority(
    world: World, post: Post, tmp_path: Path, password: Path, scheme: str
) -> None:
    authority, stranger = Authority(tmp_path, "ours"), Authority(tmp_path, "stranger")
    number = await contact(world, "it@example.com", notices=2)
    given: dict[str, Any] = {"smtp_password_file": password, "tls_ca_file": authority.file}
    # The address is in the certificate; the authority is one that is not trusted, or the name is
    # another's: an error that says so, nothing is sent, and nothing is lost.
    for context, error in (
        (stranger.server(), "unable to get local issuer certificate"),
        (authority.server("mail.example.com"), "IP address mismatch"),
    ):
        log = Log()
        async with speaking_tls(post, context, scheme) as url:
            await mailer(world, url, log, **given).run_once()
        [line] = log.all("mail cannot be sent", contact=number)
        assert error in line.values["error"]
        assert "CDC_TLS_CA_FILE names the authority to trust" in line.values["error"]
        assert await world.one("select last_error from cdc.contact") == line.values["error"]
        await world.run("update cdc.contact set due_at = now()")
    assert post.mails == []
    assert await world.one("select count(*) from cdc.mail") == 2
    async with speaking_tls(post, authority.server(), scheme) as url:
        await mailer(world, url, **given).run_once()
    [(to, message)] = post.mails
    assert (to, message["Subject"]) == ("it@example.com", "2 notices about your webhooks")
    assert await world.all("select tries, last_error from cdc.contact") == [(0, None)]


async def test_a_password_is_not_sent_in_the_clear(
    world: World, post: Post, password: Path
) -> None:
    """The server offers no STARTTLS, or an attacker in between has taken it away."""
    number = await contact(world, "it@example.com")
    log = Log()
    url = post.url.replace("://", "://me@")
    await mailer(world, url, log, smtp_password_file=password).run_once()
    [line] = log.all("mail cannot be sent", contact=number)
    assert "STARTTLS" in line.values["error"]
    assert PASSWORD not in str(log.lines)
    assert await world.one("select count(*) from cdc.mail") == 1


@pytest.mark.parametrize(
    "address",
    [
        "a@b\nBcc: c@d", "a@b\r\n", "a b@c", "a@b, c@d", "<a@b>", "a", "@b", "a@", "\u00e4@b.c",
        "a@b..c", "x" * 251 + "@b.c", '"a"@b', "a@b\0",
    ],
)  # fmt: skip
async def test_an_address_cannot_begin_another_header(world: World, address: str) -> None:
    with pytest.raises(UsageError, match="invalid address"):
        change(world, contacts.add, "1", address)
    with pytest.raises((psycopg.Error, ValueError)):
        await world.run("insert into cdc.contact (company, email) values ('1', %s)", address)


async def test_contacts_of_a_company_are_few_and_different(world: World) -> None:
    for number in range(contacts.CONTACTS_PER_COMPANY):
        change(world, contacts.add, "1", f"it{number}@example.com")
    with pytest.raises(CdcError, match="is contact"):
        change(world, contacts.add, "1", "IT3@example.com")
    with pytest.raises(CdcError, match="at most 10"):
        change(world, contacts.add, "1", "more@example.com")
    change(world, contacts.add, "2", "it3@example.com")
