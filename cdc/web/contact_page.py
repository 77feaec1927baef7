"""The page on which a contact confirms its address. GET shows a button and changes nothing, because
mail scanners open links; POST confirms."""

from __future__ import annotations

import re

from cdc.errors import CdcError
from cdc.web.call import Service
from cdc.web.console.render import HEADERS
from cdc.web.problems import problem_of
from cdc.webhooks import contacts
from cdc.webhooks.audit import Actor

PATH = "/confirm/"
_CODE = re.compile(r"[A-Za-z0-9_-]{24}")
_PAGE = (
    '<!doctype html><html lang="en"><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width"><title>{0}</title><h1>{0}</h1>{1}</html>'
)
_QUESTION = _PAGE.format(
    "Notices about webhooks",
    "<p>They are sent by mail to this address when deliveries fail, and when they work again.</p>"
    '<form method="post"><button>Confirm the address</button></form>',
)
_DONE = _PAGE.format(
    "The address is confirmed", "<p>It gets notices from now on. You can close this page.</p>"
)
_INVALID = _PAGE.format(
    "This link confirms no address",
    "<p>It is valid once, for 7 days. Ask for a new one where the address was entered.</p>",
)


def answer(
    service: Service, method: str, path: str, source: str, request: str
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body. Raises Problem if the database is away."""
    code = path.removeprefix(PATH)
    headers = {**HEADERS, "Content-Type": "text/html; charset=utf-8"}
    if method not in ("GET", "HEAD", "POST"):
        return 405, {**headers, "Allow": "GET, POST"}, b""
    if _CODE.fullmatch(code) is None:
        return 404, headers, _INVALID.encode()
    if method != "POST":
        return 200, headers, _QUESTION.encode()
    try:
        with service.pool.transaction() as conn:
            contacts.confirm(conn, Actor("contact", source, request), code)
    except contacts.UnknownContact:
        return 404, headers, _INVALID.encode()
    except CdcError as error:
        raise problem_of(error) from error
    return 200, headers, _DONE.encode()
