"""Sign: a body becomes a request that its receiver can verify. Pure: no network, no clock.

Rules: Standard Webhooks 1.0.0. The signed content is ``{id}.{timestamp}.{body}``; the secret says
by which scheme it is signed (``cdc/message/signing_keys.py``).
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from urllib.parse import quote, quote_plus, unquote

from cdc.errors import UsageError
from cdc.message import signing_keys
from cdc.model import Delivery, Request, Webhook

TOLERANCE = 300
"""Seconds a timestamp may lie off the receiver's clock, either way."""

USER_AGENT = "interview suite webhook"
OURS: tuple[tuple[str, str], ...] = (
    ("Content-Type", "application/json"),
    ("User-Agent", USER_AGENT),
)
"""Headers that are the same for all receivers."""

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e]*")
_RESERVED = frozenset(
    {
        # what we send ourselves
        "content-type",
        "user-agent",
        "host",
        "content-length",
        # what steers the connection and would let a registration confuse proxies on the way
        "connection",
        "expect",
        "keep-alive",
        "te",
        "trailer",
        "http2-settings",
        "transfer-encoding",
        "upgrade",
        # we keep an excerpt of the answer for people, so it must come as it is
        "accept-encoding",
        "content-encoding",
    }
)
_RESERVED_PREFIXES = ("webhook-", "proxy-")
MAX_HEADERS = 32
MAX_HEADER_VALUE = 4096
MAX_ALL_HEADERS = 16_384
"""Characters of names and values together: more than most servers take, and it is kept for each
webhook, in every form in which it could be repeated."""


class Signer:
    """Signs for one webhook; the secrets are decoded once.

    secrets: newest first; while a rotation is in its time of grace there are several, perhaps of
             different schemes, and the signature header holds one signature for each.

    Raises UsageError if there is no secret or a wrong one.
    """

    __slots__ = ("_sign",)

    def __init__(self, secrets: Sequence[str]) -> None:
        if not secrets:
            raise UsageError("the webhook has no secret to sign with")
        self._sign = tuple(signing_keys.signing(secret) for secret in secrets)

    def headers(self, uid: str, timestamp: int, body: bytes) -> tuple[tuple[str, str], ...]:
        """The three headers of an attempt.

        uid:       the ``webhook-id``, same for all attempts.
        timestamp: Unix seconds of this attempt.
        """
        content = _content(uid, str(timestamp), body)
        signatures = " ".join([sign(content) for sign in self._sign])
        return (
            ("webhook-id", uid),
            ("webhook-timestamp", str(timestamp)),
            ("webhook-signature", signatures),
        )


def _content(uid: str, timestamp: str, body: bytes) -> bytes:
    # surrogateescape: a receiver may be sent header bytes that are not text; they only have to
    # lead to a signature that differs.
    return f"{uid}.{timestamp}.".encode(errors="surrogateescape") + body


class SignatureProblem(StrEnum):
    """Why a request is not to be trusted."""

    NO_SECRET = "no secret to verify with"  # noqa: S105 - a sentence, not a secret
    NO_ID = "webhook-id is missing"
    NO_TIMESTAMP = "webhook-timestamp is missing"
    NO_SIGNATURE = "webhook-signature is missing"
    BAD_TIMESTAMP = "webhook-timestamp is invalid: expected seconds since 1970"
    TOO_OLD = "webhook-timestamp is too old"
    TOO_NEW = "webhook-timestamp is in the future"
    NO_V1 = "webhook-signature has no v1 signature"
    NO_V1A = "webhook-signature has no v1a signature"
    MISMATCH = "no signature matches: another secret, or the body was changed"


def verify(
    secrets: Sequence[str],
    headers: Mapping[str, str],
    body: bytes,
    now: float,
    tolerance: float = TOLERANCE,
) -> SignatureProblem | None:
    """What is wrong with a received request; None if it is genuine.

    secrets:   shared secrets (``whsec_``) or public keys (``whpk_``); one that fits is enough.
    headers:   names in any case.
    now:       Unix seconds of the receiver's clock.
    tolerance: seconds the timestamp may lie off it.

    Raises UsageError for a wrong secret. Signatures are compared in constant time.
    """
    found = {name.lower(): value for name, value in headers.items()}
    uid = found.get("webhook-id", "")
    stamp = found.get("webhook-timestamp", "")
    signed = found.get("webhook-signature", "")
    if not uid:
        return SignatureProblem.NO_ID
    if not stamp:
        return SignatureProblem.NO_TIMESTAMP
    if not signed:
        return SignatureProblem.NO_SIGNATURE
    if not re.fullmatch(r"[0-9]{1,15}", stamp):
        return SignatureProblem.BAD_TIMESTAMP
    if int(stamp) < now - tolerance:
        return SignatureProblem.TOO_OLD
    if int(stamp) > now + tolerance:
        return SignatureProblem.TOO_NEW
    given: dict[str, list[str]] = {}
    for part in signed.split(" "):
        version, _, signature = part.partition(",")
        given.setdefault(version, []).append(signature)
    if not given.keys() & set(signing_keys.Scheme):
        return SignatureProblem.NO_V1
    if not secrets:
        return SignatureProblem.NO_SECRET
    schemes = {signing_keys.scheme_of(secret) for secret in secrets}
    if not schemes & given.keys():
        return (
            SignatureProblem.NO_V1 if signing_keys.Scheme.V1 in schemes else SignatureProblem.NO_V1A
        )
    content = _content(uid, stamp, body)
    matched = False
    for secret in secrets:
        genuine = signing_keys.verifying(secret)
        for signature in given.get(signing_keys.scheme_of(secret), ()):
            # No early end: the time taken must not reveal which secret or signature matched.
            matched |= genuine(content, signature)
    return None if matched else SignatureProblem.MISMATCH


def split_endpoint(endpoint: str) -> tuple[str, tuple[str, str] | None]:
    """An endpoint's URL without user and password, and these two, if it has them.

    Nothing else of the text is touched: what is registered is what is called. User and password
    are percent-decoded, as a URL means them.
    """
    scheme, separator, rest = endpoint.partition("://")
    end = next((i for i, char in enumerate(rest) if char in "/?#"), len(rest))
    userinfo, at, host = rest[:end].rpartition("@")
    if not at:
        return endpoint, None
    user, _, password = userinfo.partition(":")
    return scheme + separator + host + rest[end:], (unquote(user), unquote(password))


def check_headers(headers: Mapping[str, str], endpoint: str = "") -> None:
    """Refuse additional headers that may not or cannot be sent.

    endpoint: where given, also refuse an Authorization in addition to a login in it.

    Raises UsageError naming the header; never its value, which may be a password.
    """
    if len(headers) > MAX_HEADERS:
        raise UsageError(f"{len(headers)} additional headers; at most {MAX_HEADERS} are sent")
    seen: set[str] = set()
    for name, value in headers.items():
        lower = name.lower()
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"invalid header name {name!r}", "Use letters, digits and hyphens, as in X-Api-Key."
            )
        # Servers that hand headers on as variables (CGI, WSGI, PHP) take _ and - for the same.
        meant = lower.replace("_", "-")
        if meant in _RESERVED or meant.startswith(_RESERVED_PREFIXES):
            raise UsageError(f"the header {name} is reserved", "Leave it out.")
        if meant in seen:
            raise UsageError(f"the header {name} is given twice", "Leave one of them out.")
        seen.add(meant)
        if not _VALUE.fullmatch(value) or value != value.strip() or len(value) > MAX_HEADER_VALUE:
            raise UsageError(
                f"the value of the header {name} cannot be sent",
                "A value is one line of plain ASCII without spaces around it, "
                f"of at most {MAX_HEADER_VALUE} characters.",
            )
    together = sum(len(name) + len(value) for name, value in headers.items())
    if together > MAX_ALL_HEADERS:
        raise UsageError(
            f"the headers have {together} characters together",
            f"At most {MAX_ALL_HEADERS} are sent.",
        )
    if "authorization" in seen and split_endpoint(endpoint)[1] is not None:
        raise UsageError(
            "the endpoint holds a user and password, and there is an Authorization header too",
            "Keep one of the two.",
        )


def header_lines(headers: Iterable[tuple[str, str]]) -> bytes:
    """Headers as they go over the wire.

    Raises UsageError for one that is more or less than a line of its own; never with its value.
    """
    lines = []
    for name, value in headers:
        # Plain ASCII is recognised faster than by the expression, and is nearly every value.
        plain = value.isascii() and value.isprintable()
        if not _NAME.fullmatch(name) or not (plain or _VALUE.fullmatch(value)):
            raise UsageError(f"the header {name!r} cannot be sent")
        lines.append(f"{name}: {value}\r\n")
    return "".join(lines).encode("ascii")


def credentials(headers: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """What of additional headers must not be shown, longest first so that none is left half.

    In the forms as well in which a receiver's answer would repeat it: JSON, HTML, a URL.
    """
    found: set[str] = set()
    for name, value in headers:
        found.add(value)
        if name.lower() != "authorization":
            continue
        kind, _, token = value.partition(" ")
        found.add(token)
        if kind == "Basic":
            with contextlib.suppress(binascii.Error, ValueError):
                login = base64.b64decode(token).decode()
                found.update((login, login.partition(":")[2]))
    # Three letters or fewer are not a secret, and taking them out would leave nothing to read.
    forms = {form for value in found if len(value) > 3 for form in _echoes(value)}
    return tuple(sorted(forms, key=len, reverse=True))


def _echoes(value: str) -> Iterator[str]:
    yield value
    written = json.dumps(value)[1:-1]
    yield written
    yield written.replace("/", "\\/")  # as PHP writes it
    yield html.escape(value)
    yield quote(value)
    yield quote(value, safe="")
    yield quote_plus(value)


class Sealer:
    """Makes the requests of one webhook; all that stays the same is computed once.

    url: the endpoint without user and password: what is called, and what the body says.
    receiver: the same number for the same endpoint, secrets, headers and TLS profile.

    Raises UsageError if the registration's secrets or headers cannot be used.
    """

    __slots__ = ("_after", "_hidden", "_signer", "_tls_profile", "receiver", "url")

    _before = header_lines(OURS)

    def __init__(self, webhook: Webhook) -> None:
        check_headers(webhook.headers, webhook.endpoint)
        self._signer = Signer(webhook.secrets)
        self.url, login = split_endpoint(webhook.endpoint)
        after: list[tuple[str, str]] = []
        if login is not None:
            token = base64.b64encode(":".join(login).encode()).decode()
            after.append(("Authorization", f"Basic {token}"))
        after.extend(webhook.headers.items())
        self._after = header_lines(after)
        self._hidden = credentials(after)
        self._tls_profile = webhook.tls_profile
        headers = frozenset(webhook.headers.items())
        self.receiver = hash((webhook.endpoint, webhook.secrets, headers, webhook.tls_profile))

    def seal(self, delivery: Delivery, body: bytes, now: int) -> Request:
        """The signed request of one attempt.

        body: the delivery's bytes, the same for all its attempts.
        now:  Unix seconds of this attempt.
        """
        signed = header_lines(self._signer.headers(delivery.uid, now, body))
        head = self._before + signed + self._after
        return Request(self.url, head, body, self._hidden, self._tls_profile)
