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
from urllib.parse import urljoin

from cdc.causes import detail
from cdc.deliver import handshake
from cdc.deliver import url as urls
from cdc.deliver.guard import AddressRefused
from cdc.errors import CdcError, ConfigError, UsageError
from cdc.model import Answer, Outcome, Request
from cdc.wording import bracketed, printable

EXCERPT_BYTES = 1024
"""Bytes of an answer's body that are kept."""

RETRY_AFTER_LIMIT_S = 86_400.0
"""Seconds; a receiver may not ask for more rest than the longest step between attempts, a day."""

SECRET_KNOWN_BY_CHARS = 32
"""Characters by which a secret is known: what begins with as many of it is taken for all of it."""

SCANNED_BYTES = EXCERPT_BYTES + SECRET_KNOWN_BY_CHARS
"""Bytes of it that are looked at, so that a secret on the excerpt's edge is known as well."""

DETAIL_LIMIT_CHARS = 700
"""Characters. A host has 253, and what is named of a certificate is cut where it is named."""

_HIDDEN_TEXT = "[hidden]"


class RefusedDial(OSError):
    """Wraps Refused in an OSError, so that aiohappyeyeballs passes it on."""

    def __init__(self, refused: AddressRefused) -> None:
        super().__init__(refused.message)
        self.refused = refused


class ProxyFailed(OSError):
    """The outbound proxy opened no way; nothing is known of the receiver."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Unable(Exception):
    """This machine could not make the attempt: not a receiver's failure. The text says what it
    lacks."""


class TooMuch(Exception):
    """The peer sent more around its answer than any honest answer has."""


class NotHttp(Exception):
    """What the peer sent is not an answer of HTTP/1.

    code: of the cause, where that is known.
    """

    def __init__(self, why: str, code: str = "protocol not http") -> None:
        super().__init__(why)
        self.code = code


class Ended(ConnectionError):
    """The peer closed the connection before its answer was complete.

    begun: the answer's head was there.
    """

    def __init__(self, *, begun: bool) -> None:
        super().__init__("closed")
        self.begun = begun


ASKED = {"abort-message": Answer.ABORTED, "disable": Answer.GONE}
"""What a receiver may ask for, in the header webhook-delivery of an answer other than success."""


def answer_for(status: int) -> Answer:
    """The class of a status (docs/receiver.md, "Answers")."""
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
    status: int,
    duration: float,
    excerpt: str = "",
    retry_after: float | None = None,
    leads: str = "",
    asks: str | None = None,
) -> Outcome:
    """The outcome of a complete answer.

    leads: where a redirect leads (``leads_to``). asks: its header webhook-delivery.
    """
    answer = answer_for(status)
    if answer is Answer.SUCCESS:
        return Outcome(answer, status, None, "", duration, excerpt)
    said = f"answered {status} {phrase(status)}".rstrip()
    if asks is not None and (wish := asks.strip().lower()) in ASKED:
        answer = ASKED[wish]
        said += f", webhook-delivery: {wish}"
    if 300 <= status < 400 and status != HTTPStatus.NOT_MODIFIED:
        said += f" ({leads}redirects are not followed)"
    return Outcome(answer, status, "status", said, duration, excerpt, retry_after)


def leads_to(location: str | None, endpoint: str) -> str:
    """Where a redirect of `endpoint` leads, as ``answered`` wants it; empty where that is unclear.

    Its path is compared and not shown: paths and queries may hold tokens, and the receiver may
    have been sent one.
    """
    if location is None:
        return ""
    try:
        old, new = urls.parse(endpoint), urls.parse(urljoin(endpoint, location.strip()))
    except (ValueError, UsageError):
        return "leads to an address that is invalid; "
    port = "" if new.port == (443 if new.scheme == "https" else 80) else f":{new.port}"
    paths = {old.path: "the same path", f"{old.path}/": "the same path with a slash at its end"}
    path = paths.get(new.path, "another path")
    return f"leads to {new.scheme}://{bracketed(new.host)}{port}, {path}; "


def phrase(status: int) -> str:
    """Of a status: not the receiver's own words, which are its to choose."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def retry_after(value: str | None, now: float, cap: float = RETRY_AFTER_LIMIT_S) -> float | None:
    """Seconds to wait, from a Retry-After header in seconds or as an HTTP date.

    now: Unix seconds. cap: the most that is believed. None for no header, for one that cannot
    be read, and for one that asks for nothing (zero, negative, a date that has passed).
    """
    if value is None:
        return None
    value = value.strip()
    seconds: float
    if re.fullmatch(r"[0-9]+(\.[0-9]*)?", value):
        # Whole seconds by the specification; a fraction is sent all the same, and its meaning is
        # plain. By length first: what has no end takes long.
        seconds = float(value) if len(value.partition(".")[0]) <= 12 else cap
    else:
        try:
            date = parsedate_to_datetime(value)
            seconds = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now
        except (ValueError, OverflowError, IndexError, TypeError):
            return None
    return min(seconds, cap) if seconds > 0 else None


def excerpt(body: bytes, request: Request, limit: int = EXCERPT_BYTES) -> str:
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
    return printable(text).encode()[:limit].decode(errors="ignore").strip()


def _without(body: bytes, secrets: Iterable[str], limit: int) -> bytes:
    """The first ``limit`` bytes, with a word in place of secrets that begin within them.

    All are looked for in what came, never in what was put in their place, and by their beginning
    only: headers and answer may be made to take long.
    """
    text = body[: limit + SECRET_KNOWN_BY_CHARS].decode("latin-1")
    longest: dict[str, int] = {}
    for secret in secrets:
        start = secret[:SECRET_KNOWN_BY_CHARS]
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
            shown += text[end:begin] + _HIDDEN_TEXT
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
    # Name lookups and files of certificates do not say why they failed, nor do several addresses.
    untold = isinstance(error, OSError) and error.errno is None
    if untold or isinstance(error, socket.gaierror | ConfigError):
        try:
            socket.socket().close()
        except OSError as limit:
            return os.strerror(limit.errno or 0)
    return None


def explain(error: BaseException, host: str, waited: str = "") -> tuple[str, str]:
    """Class and one line of detail for an exception of the HTTP client."""
    name, why = _explain(error, host, waited)
    return name, _plain(why)


def _explain(error: BaseException, host: str, waited: str) -> tuple[str, str]:
    match error:
        case AddressRefused():
            return "guard", f"{error.message}. {error.hint}"
        case RefusedDial():
            return _explain(error.refused, host, waited)
        case ProxyFailed():
            return "proxy", error.message
        case UsageError():
            return "guard", _with_hint(error)
        case ConfigError():
            why = detail("tls unusable files", why=error.message)
            return "tls", f"{why}. {error.hint}" if error.hint else why
        case TooMuch():
            return "protocol", detail("protocol too much", peer=host, why=str(error))
        case NotHttp():
            return "protocol", detail(error.code, peer=host, why=str(error))
        case Ended() if error.begun:
            return "reset", detail("reset in answer", peer=host)
        case Ended():
            return "reset", detail("reset before answer", peer=host)
        case handshake.CertificateRefused():
            return "tls", handshake.of_certificate(error, host)
        case handshake.HandshakeEnded():
            return "tls", detail("tls handshake ended", peer=host)
        case ssl.SSLError():
            return "tls", handshake.of_protocol(error, host)
        case TimeoutError():
            code = "timeout connection" if waited == "connection" else "timeout answer"
            return "timeout", detail(code, peer=host)
        case OSError():
            return _os_error(error, host)
        case _:
            # Not foreseen; it must not stop a lane. The name alone: its text might hold anything.
            return "protocol", f"{type(error).__name__} while talking to {host}"


def _with_hint(error: CdcError) -> str:
    return f"{error.message}. {error.hint}" if error.hint else error.message


def _os_error(error: OSError, host: str) -> tuple[str, str]:
    if isinstance(error, socket.gaierror):
        return "dns", detail("dns", peer=host, why=str(error.strerror))
    if isinstance(error, ConnectionRefusedError) or error.errno == errno.ECONNREFUSED:
        return "refused", detail("refused", peer=host)
    if isinstance(error, _RESETS) or error.errno in (errno.ECONNRESET, errno.EPIPE):
        return "reset", detail("reset", peer=host)
    if error.errno == errno.ETIMEDOUT:
        return "timeout", detail("timeout connection", peer=host)
    if each := _EACH_ADDRESS.findall(str(error)):
        why = ", ".join(f"{address} {os.strerror(int(code))}" for code, address in each)
        return "refused", detail("refused all addresses", peer=host, why=why)
    known = os.strerror(error.errno) if error.errno else type(error).__name__
    return "refused", detail("refused unreachable", peer=host, why=known)


# So the errors of several addresses come, in one that has no code.
_EACH_ADDRESS = re.compile(r"\[Errno ([0-9]+)\] Connect call failed \('([^']+)'")


def _plain(text: str) -> str:
    """One short printable line. Of what is longer the cause would not be recognised again."""
    return printable(text)[:DETAIL_LIMIT_CHARS]
