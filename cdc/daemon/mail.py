"""Mails notices to contacts: at most one mail in 15 minutes to each, with all that has come since.

What is to be mailed lies in ``cdc.mail``, written with the notices. A contact is claimed, mailed,
and what was sent is deleted; if the mail server does not take it, it stays and is tried again.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import BaseHeader, HeaderRegistry, UnstructuredHeader
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.policy import Policy
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import psycopg

from cdc.daemon.store.session import Connection, open_session, run
from cdc.errors import ConfigError, words
from cdc.settings import Settings
from cdc.telemetry import Observer
from cdc.webhooks.model import CODE_DAYS
from cdc.wording import one_line, printable, when

MAIL_EVERY_S = 15.0
MAIL_WITHIN_S = 30.0
"""For one mail, from connecting to its acceptance: less than the claim."""
QUIT_WITHIN_S = 5.0
CLAIM_S = 300.0
BETWEEN_MAILS_S = 900.0
"""To one contact."""
NOTICES_IN_A_MAIL = 100


class MailedNotice(NamedTuple):
    """A notice as a mail has it."""

    id: int
    at: datetime
    sentence: str


class Claimed(NamedTuple):
    """A contact that gets a mail now. code: of the links in it. notices: None: it is asked to
    confirm its address."""

    id: int
    email: str
    code: str
    notices: Sequence[MailedNotice] | None


class _Unfolded(UnstructuredHeader, BaseHeader):
    """In one line: a link of more than 78 characters would be written as encoded words, which no
    mail program follows."""

    def fold(self, *, policy: Policy[Any]) -> str:
        return f"{self.name}: {self}{policy.linesep}"


_HEADERS = HeaderRegistry()
_HEADERS.map_to_type("List-Unsubscribe", _Unfolded)
MAIL_POLICY = SMTP_POLICY.clone(header_factory=_HEADERS)


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where mail is handed in.

    encrypted: from the first byte on (smtps); otherwise by STARTTLS where the server offers it,
               and always before a password is sent.
    """

    host: str
    port: int
    encrypted: bool
    user: str | None
    password: str | None
    ca_file: Path | None

    @classmethod
    def of(cls, settings: Settings) -> MailServer:
        """Raises ConfigError where the password cannot be read or the extra is not installed."""
        if find_spec("aiosmtplib") is None:
            raise ConfigError(
                "smtp_url is set, and aiosmtplib is not installed",
                "Install the extra: pip install 'cdc-webhooks[mail]'. Or leave CDC_SMTP_URL out.",
            )
        parts = urlsplit(settings.smtp_url or "")
        password, file = None, settings.smtp_password_file
        if file is not None:
            try:
                password = file.read_text("utf-8").rstrip("\r\n")
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigError(
                    f"smtp_password_file cannot be read: {words(error)}",
                    "It must be a file with the password and nothing else.",
                ) from None
        user = unquote(parts.username) if parts.username else None
        return cls(
            parts.hostname or "", parts.port or 0, parts.scheme == "smtps", user, password,
            settings.tls_ca_file,
        )  # fmt: skip

    async def send(self, message: EmailMessage) -> None:
        """Raises MailRefused or MailFailed."""
        import aiosmtplib

        context = ssl.create_default_context()
        if self.ca_file is not None:
            context.load_verify_locations(self.ca_file)
        client = aiosmtplib.SMTP(
            hostname=self.host,
            port=self.port,
            use_tls=self.encrypted,
            start_tls=None if self.user is None or self.encrypted else True,
            tls_context=context,
            username=self.user,
            password=self.password,
            timeout=MAIL_WITHIN_S,
        )
        try:
            async with asyncio.timeout(MAIL_WITHIN_S):
                await client.connect()
                await client.send_message(message)
            # It is taken, whatever the server says to that.
            with suppress(aiosmtplib.SMTPException, OSError):
                await client.quit(timeout=QUIT_WITHIN_S)
        except aiosmtplib.SMTPRecipientsRefused as error:
            raise MailRefused("; ".join(map(_said, error.recipients))) from None
        except TimeoutError:
            raise MailFailed(
                f"{self.host} port {self.port} has not taken it within {MAIL_WITHIN_S:g} s"
            ) from None
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            raise MailFailed(_whole(_said(error))) from None
        finally:
            client.close()


class MailFailed(Exception):
    """The mail server does not take mail now."""


class MailRefused(MailFailed):
    """It takes none for this contact; others may do."""


@dataclass(slots=True)
class Mailer:
    """Sends what is due. Any number of daemons may do it together.

    pages: URL of `cdc serve`, where a contact confirms its address and stops its mails; None: it is
           not known.
    """

    url: str
    observer: Observer
    server: MailServer
    sender: str
    pages: str | None

    async def run(self) -> None:
        """Sends until cancelled."""
        while True:
            await asyncio.sleep(MAIL_EVERY_S)
            try:
                await self.run_once()
            except (psycopg.Error, TimeoutError) as error:
                self.observer.care_failed("mail", error)

    async def run_once(self) -> None:
        """Sends all that is due; ends where the mail server fails."""
        conn = await open_session(self.url, "mail")
        try:
            while rows := await run(conn, "mail_claim", [CLAIM_S, NOTICES_IN_A_MAIL, CODE_DAYS]):
                number, email, code, confirmed, *_ = rows[0]
                notices = [MailedNotice(*row[4:]) for row in rows] if confirmed else None
                if not await self._mail(conn, Claimed(number, email, code, notices)):
                    return
        finally:
            await conn.close()

    async def _mail(self, conn: Connection, to: Claimed) -> bool:
        """Returns whether it is worth trying the next contact."""
        try:
            await self.server.send(self._message(to))
        except MailFailed as error:
            # A filter may quote the link for which it refuses the mail.
            said = one_line(words(error).replace(to.code, "..."), 500)
            # One that was removed meanwhile is not tried again.
            if await run(conn, "mail_failed", [to.id, said]):
                self.observer.mail_failed(to.id, said)
            return isinstance(error, MailRefused)
        ids = [one.id for one in to.notices] if to.notices is not None else None
        await run(conn, "mail_sent", [to.id, ids, BETWEEN_MAILS_S])
        self.observer.mailed(to.id, len(ids or ()))
        return True

    def _message(self, to: Claimed) -> EmailMessage:
        message = EmailMessage(policy=MAIL_POLICY)
        message["From"], message["To"] = self.sender, to.email
        # Answers of programs that are out of office help no one.
        message["Auto-Submitted"] = "auto-generated"
        # The same if it is sent twice; another one in each installation, and after a restore.
        last = to.notices[-1] if to.notices else None
        mail = hashlib.sha256(f"{to.code} {last and (last.id, last.at.timestamp())}".encode())
        message["Message-ID"] = f"<{mail.hexdigest()[:32]}@{self.sender.partition('@')[2]}>"
        if to.notices is None:
            message["Subject"] = "Confirm this address for notices about webhooks"
            message.set_content(self._question(to.code))
            return message
        many = f"{len(to.notices)} notices" if len(to.notices) != 1 else "A notice"
        message["Subject"] = f"{many} about your webhooks"
        lines = [f"{when(one.at)}  {one.sentence}" for one in to.notices]
        footer = "You get this because this address was confirmed for notices about webhooks."
        how = "To stop these mails, ask the operator to remove this address."
        if self.pages is not None:
            link = f"{self.pages}unsubscribe/{to.code}"
            how = f"To stop these mails: {link}"
            message["List-Unsubscribe"] = f"<{link}>"
            if link.startswith("https:"):  # mail programs send it in one click (RFC 8058)
                message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
        message.set_content("\n\n".join([*lines, f"-- \n{footer}\n{how}\n"]))
        return message

    def _question(self, code: str) -> str:
        how = (
            f"To get them, open this page and confirm:\n\n{self.pages}confirm/{code}"
            if self.pages is not None
            else f"To get them, give the operator this code:\n\n{code}"
        )
        return (
            "This address was entered to get notices about webhooks: when deliveries fail, and "
            f"when they work again.\n\n{how}\n\nIt is valid for {CODE_DAYS} days. If you do not "
            "want notices, do nothing: no further mail is sent.\n"
        )


def _whole(text: str) -> str:
    """With what to do, where that is known."""
    if "CERTIFICATE_VERIFY_FAILED" in text:
        text += "; CDC_TLS_CA_FILE names the authority to trust"
    return text


def _said(error: Exception) -> str:
    """Of an answer its code and text, in which anything can be."""
    if (code := getattr(error, "code", 0)) > 0:
        return printable(f"the mail server answered {code}: {getattr(error, 'message', '')}")
    return printable(words(error))
