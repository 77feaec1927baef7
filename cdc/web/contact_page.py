"""Pages behind the links in mails to contacts: one confirms the address, the other stops the mails.
GET shows a button and changes nothing, because mail scanners open links; POST does it, also for a
mail program that sends it without a cookie or a page (one-click, RFC 8058)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

import sqlalchemy as sa

from cdc.errors import CdcError
from cdc.web.call import Service
from cdc.web.console.render import HEADERS
from cdc.web.limits import SentKeys
from cdc.web.problems import Problem, problem_of
from cdc.webhooks import contacts
from cdc.webhooks.audit import Actor

_CODE = re.compile(r"[A-Za-z0-9_-]{24}")
_PAGE = (
    '<!doctype html><html lang="en"><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width"><title>{0}</title><h1>{0}</h1>{1}</html>'
)
_BUTTON = '<form method="post"><button>{}</button></form>'


class ContactLink(NamedTuple):
    """path: what its address begins with; the code follows.

    unknown: the answer to a code that no contact has. incomplete: to what cannot be a code.
    """

    path: str
    carry_out: Callable[[sa.Connection, Actor, str], object]
    question: str
    done: str
    unknown: tuple[int, str]
    incomplete: str


_INVALID = _PAGE.format(
    "This link confirms no address",
    "<p>It is valid once, for 7 days. Ask for a new one where the address was entered.</p>",
)
_STOPPED = _PAGE.format(
    "No more notices are mailed",
    "<p>The address was removed; a mail that is being sent now may still arrive. You can close "
    "this page.</p>",
)
_LINKS = (
    ContactLink(
        "/confirm/",
        contacts.confirm,
        _PAGE.format(
            "Notices about webhooks",
            "<p>They are sent by mail to this address when deliveries fail, and when they work "
            "again.</p>" + _BUTTON.format("Confirm the address"),
        ),
        _PAGE.format(
            "The address is confirmed",
            "<p>It gets notices from now on. You can close this page.</p>",
        ),
        (404, _INVALID),
        _INVALID,
    ),
    ContactLink(
        "/unsubscribe/",
        contacts.unsubscribe,
        _PAGE.format(
            "Notices about webhooks",
            "<p>They are mailed to this address. To get no more of them:</p>"
            + _BUTTON.format("Stop these mails"),
        ),
        _STOPPED,
        (200, _STOPPED),  # by an earlier press of the button
        _PAGE.format(
            "This link is not complete", "<p>Open it as it is in the mail, to its last letter.</p>"
        ),
    ),
)


def link_of(path: str) -> ContactLink | None:
    """The kind of link that an address is of."""
    return next((link for link in _LINKS if path.startswith(link.path)), None)


def answer(
    service: Service,
    sent_keys: SentKeys,
    link: ContactLink,
    method: str,
    path: str,
    source: str,
    request: str,
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body. Raises Problem if the database is away, or for one address too many
    wrong codes."""
    code = path.removeprefix(link.path)
    headers = {**HEADERS, "Content-Type": "text/html; charset=utf-8"}
    if method not in ("GET", "HEAD", "POST"):
        return 405, {**headers, "Allow": "GET, POST"}, b""
    if _CODE.fullmatch(code) is None:
        return 404, headers, link.incomplete.encode()
    if method != "POST":
        return 200, headers, link.question.encode()
    if (wait := sent_keys.wait(source, "")) > 0:
        raise Problem("too_many_requests", headers={"Retry-After": str(int(wait) + 1)})
    try:
        with service.pool.transaction() as conn:
            link.carry_out(conn, Actor("contact", source, request), code)
    except contacts.UnknownContact:
        sent_keys.failed(source)
        return link.unknown[0], headers, link.unknown[1].encode()
    except CdcError as error:
        raise problem_of(error) from error
    return 200, headers, link.done.encode()
