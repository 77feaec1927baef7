"""What an attempt amounted to: statuses, headers and exceptions become an Outcome.

Pure. Nothing that ends here may hold a secret: no URL (paths and queries hold tokens often enough),
no user and password, no header of ours.
"""

from __future__ import annotations

import codecs
import errno
import os
import re
import socket
import ssl
from collections.abc import Iterable
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from cdc.deliver.guard import Refused
from cdc.errors import ConfigError, UsageError
from cdc.road import Answer, Outcome, Request

EXCERPT = 1024
"""Bytes of an answer's body that are kept."""

RETRY_AFTER_CAP = 86_400.0
"""Seconds; a receiver may not ask for more rest than the longest step between attempts, a day."""

TELLING = 32
"""Characters by which a secret is known: what begins with as many of it is taken for all of it."""

LOOKED_AT = EXCERPT + TELLING
"""Bytes of it that are looked at, so that a secret on the excerpt's edge is known as well."""

_HIDDEN = "[hidden]"


class RefusedDial(OSError):
    """A Refused in the clothes in which whoever dials lets it through."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.message)
        self.refused = refused


class ProxyFailed(OSError):
    """The outbound proxy opened no way; nothing is known of the receiver."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Unable(Exception):
    """This machine could not make the attempt: its limits are no receiver's failure. The text says
    what it lacks."""


class TooMuch(Exception):
    """The peer sent more around its answer than any honest answer has."""


class NotHttp(Exception):
    """What the peer sent is no answer of HTTP/1."""


class Ended(ConnectionError):
    """The peer closed the connection before its answer was complete.

    begun: the answer's head was there.
    """

    def __init__(self, *, begun: bool) -> None:
        super().__init__("closed")
        self.begun = begun


def answer_for(status: int) -> Answer:
    """The class of a status (ARCHITECTURE.md, "States, codes, defaults")."""
    if 200 <= status < 300:
        return Answer.SUCCESS
    if status == 410:
        return Answer.GONE
    if status in (429, 503):
        return Answer.BUSY
    if status in (502, 504):
        return Answer.SLOW
    return Answer.FAILURE


def answered(
    status: int, duration: float, excerpt: str = "", retry_after: float | None = None
) -> Outcome:
    """The outcome of a complete answer."""
    answer = answer_for(status)
    if answer is Answer.SUCCESS:
        return Outcome(answer, status, None, "", duration, excerpt)
    detail = f"answered {status} {_phrase(status)}".rstrip()
    if 300 <= status < 400:
        detail += " (redirects are not followed)"
    return Outcome(answer, status, "status", detail, duration, excerpt, retry_after)


def _phrase(status: int) -> str:
    # Not the receiver's own words: they are its to choose.
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def retry_after(value: str | None, now: float, cap: float = RETRY_AFTER_CAP) -> float | None:
    """Seconds to wait, from a Retry-After header in seconds or as an HTTP date.

    now: Unix seconds. cap: the most that is believed. None for no header, for one that cannot
    be read, and for one that asks for nothing (zero, negative, a date that has passed).
    """
    if value is None:
        return None
    value = value.strip()
    seconds: float
    if re.fullmatch(r"[0-9]+", value):
        # By length first: int() of an endless row of digits takes long, and raises.
        seconds = float(value) if len(value) <= 12 else cap
    else:
        try:
            date = parsedate_to_datetime(value)
            seconds = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now
        except (ValueError, OverflowError, IndexError, TypeError):
            return None
    return min(seconds, cap) if seconds > 0 else None


def excerpt(body: bytes, request: Request, limit: int = EXCERPT) -> str:
    """The beginning of an answer as one printable line of at most ``limit`` bytes (in UTF-8).

    Receivers like to echo what they got; the credentials among our headers are taken out.
    """
    if not body:
        return ""
    shown = _without(body, request.hidden, limit) if request.hidden else body[:limit]
    # Of a letter that the limit cuts in two nothing is left.
    text = codecs.utf_8_decode(shown, "replace", False)[0].replace("\ufffd", "?")
    if text.isascii() and text.isprintable():
        return text[:limit].strip()
    text = "".join(char if char.isprintable() else " " for char in text)
    return text.encode()[:limit].decode(errors="ignore").strip()


def _without(body: bytes, secrets: Iterable[str], limit: int) -> bytes:
    """The first ``limit`` bytes, with a word in place of secrets that begin within them.

    All are looked for in what came, never in what was put in their place, and by their beginning
    only: both headers and answer may be somebody's who wants this to take long.
    """
    text = body[: limit + TELLING].decode("latin-1")
    longest: dict[str, int] = {}
    for secret in secrets:
        start = secret[:TELLING]
        longest[start] = max(len(secret), longest.get(start, 0))
    found: list[tuple[int, int]] = []
    for start, length in longest.items():
        at = text.find(start)
        while 0 <= at < limit:
            found.append((at, at + length))
            at = text.find(start, at + len(start))
    shown = ""
    end = 0
    for begin, until in sorted(found):
        if begin >= end:
            shown += text[end:begin] + _HIDDEN
        end = max(end, until)
    return (shown + text[end:limit]).encode("latin-1")


def failed(error: Exception, host: str, duration: float, waited: str = "") -> Outcome:
    """The outcome of an attempt that came to no complete answer.

    host:   host and port, for the detail; never user and password.
    waited: what a time limit that ran out was waiting for.
    """
    name, detail = explain(error, host, waited)
    return Outcome(Answer.FAILURE, None, name, detail, duration)


# Descriptors, memory, and local ports (EADDRNOTAVAIL: all of them are in use).
_OUR_LIMITS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}
_RESETS = (ConnectionResetError, BrokenPipeError, ConnectionAbortedError)


def lacking(error: Exception) -> str | None:
    """What this machine lacks, if that is why an attempt failed; None if it is not."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _OUR_LIMITS:
            return os.strerror(cause.errno)
        cause = cause.__cause__ or cause.__context__
    # Name lookups and files of certificates do not tell why they failed, nor do several addresses.
    untold = isinstance(error, OSError) and error.errno is None
    if untold or isinstance(error, socket.gaierror | ConfigError):
        try:
            socket.socket().close()
        except OSError as limit:
            return os.strerror(limit.errno or 0)
    return None


def explain(error: BaseException, host: str, waited: str = "") -> tuple[str, str]:
    """Class and one line of detail for an exception of the HTTP client."""
    match error:
        case Refused():
            return "guard", f"{error.message}. {error.hint}"
        case RefusedDial():
            return explain(error.refused, host)
        case ProxyFailed():
            return "proxy", _plain(error.message)
        case UsageError():
            return "guard", error.message
        case ConfigError():
            return "tls", _plain(error.message)
        case TooMuch():
            return "protocol", str(error)
        case NotHttp():
            return "protocol", _plain(f"{host} answered something that is no HTTP: {error}")
        case Ended() if error.begun:
            return "reset", f"{host} broke its answer off"
        case Ended():
            return "reset", f"{host} closed the connection without a complete answer"
        case ssl.SSLCertVerificationError():
            return "tls", _plain(f"the certificate of {host} is refused: {error.verify_message}")
        case ssl.SSLError():
            return "tls", _plain(f"TLS with {host} failed: {error.reason or error.strerror}")
        case ssl.CertificateError():
            return "tls", _plain(f"the certificate of {host} is refused")
        case TimeoutError():
            return "timeout", f"no {waited or 'answer'} from {host} in time"
        case OSError():
            return _os_error(error, host)
        case _:
            # Not foreseen; it must not stop a lane. The name alone: its text might hold anything.
            return "protocol", f"{type(error).__name__} while talking to {host}"


def _os_error(error: OSError, host: str) -> tuple[str, str]:
    if isinstance(error, socket.gaierror):
        return "dns", f"the name of {host} cannot be resolved: {_plain(str(error.strerror))}"
    if isinstance(error, ConnectionRefusedError) or error.errno == errno.ECONNREFUSED:
        return "refused", f"{host} refused the connection"
    if isinstance(error, _RESETS) or error.errno in (errno.ECONNRESET, errno.EPIPE):
        return "reset", f"{host} reset the connection"
    if error.errno == errno.ETIMEDOUT:
        return "timeout", f"no connection to {host} in time"
    known = errno.errorcode.get(error.errno or 0, type(error).__name__)
    return "refused", f"no connection to {host} ({known})"


def _plain(text: str) -> str:
    """One short printable line."""
    return "".join(char if char.isprintable() else " " for char in text)[:300]
