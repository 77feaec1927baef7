"""Kinds of values that settings have: networks, lists, addresses of servers."""

from __future__ import annotations

import ipaddress
import re
from base64 import urlsafe_b64decode
from typing import Annotated, NamedTuple
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import psycopg
from psycopg.pq import Conninfo
from pydantic import AfterValidator, BeforeValidator, Field

from cdc.postgres.refusal import invalid

DAY = 86_400
"""In seconds."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _split(value: object) -> object:
    """The environment writes lists with commas."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _network(value: object) -> object:
    # ipaddress says what is wrong with a network ("has host bits set"); pydantic does not.
    if isinstance(value, str):
        return ipaddress.ip_network(value)
    if isinstance(value, Network):
        return value
    raise ValueError("a network is written as text, such as 10.20.0.0/16")


Networks = Annotated[
    tuple[Annotated[Network, BeforeValidator(_network)], ...], BeforeValidator(_split)
]
Schedule = Annotated[
    tuple[Annotated[float, Field(ge=0.001, le=31 * DAY)], ...],
    BeforeValidator(_split),
]


def _are_keys(value: tuple[str, ...]) -> tuple[str, ...]:
    for number, key in enumerate(value, 1):
        try:
            length = len(urlsafe_b64decode(key.encode()))
        except ValueError:  # whose message, and trace, would hold the key
            length = 0
        if length != 32:
            raise ValueError(f"key number {number} is invalid")
    return value


Keys = Annotated[tuple[str, ...], BeforeValidator(_split), AfterValidator(_are_keys)]


def _role(value: object) -> object:
    if isinstance(value, str) and re.fullmatch(r".+=(admin|operator|read)", value) is None:
        raise ValueError("expected VALUE=admin, VALUE=operator or VALUE=read")
    return value


Roles = Annotated[tuple[Annotated[str, BeforeValidator(_role)], ...], BeforeValidator(_split)]

_HOST = re.compile(r"\*|(\*?\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?")


def split_exempt(entry: str) -> tuple[str, int | None]:
    """Host and port of an entry of no_proxy; the host without brackets, which may be a network."""
    if found := re.fullmatch(r"\[([^]]+)\](?::([0-9]+))?", entry):
        return found[1], int(found[2]) if found[2] else None
    if found := re.fullmatch(r"([^:]+):([0-9]+)", entry):
        return found[1], int(found[2])
    return entry, None


def _exempt(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("a host is written as text, such as .internal.example")
    host, port = split_exempt(value)
    if port is not None and not 1 <= port <= 65535:
        raise ValueError(f"{port} is an invalid port")
    if ":" in host or "/" in host or re.fullmatch(r"[0-9.]+", host):
        ipaddress.ip_network(host)
    elif not _HOST.fullmatch(host):
        raise ValueError(f"{host!r} is an invalid host")
    return value


Exempt = Annotated[tuple[Annotated[str, BeforeValidator(_exempt)], ...], BeforeValidator(_split)]


def odd_in_url(value: str) -> str | None:
    """What stands in a text and in no URL; None if there is nothing of that kind."""
    if any(char <= " " or char == "\x7f" for char in value):
        return "it holds a space or a control character"
    if not value.isascii():
        return "characters outside ASCII are written percent-encoded, and in a host as xn--"
    if found := re.search(r'[\\<>"{}|^`]', value):
        return f"it holds {found[0]}, which is written percent-encoded"
    if found := re.search(r"%(?![0-9A-Fa-f]{2}).{0,2}", value):
        return f"{found[0]} is not percent-encoded: a percent sign is written %25"
    return None


def _base_url(value: str) -> str:
    if (odd := odd_in_url(value)) is not None:
        raise ValueError(odd)
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("it must begin with https:// and a host")
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError("it must not contain a user, query or fragment")
    return value if value.endswith("/") else value + "/"


_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_ORIGIN = re.compile(
    r"(https?)://((?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:]+\])(:[0-9]{1,5})?"
)


def _origin(value: object) -> object:
    """Of a page, as a content security policy names it; or of all hosts below a domain."""
    found = _ORIGIN.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(
            f"{value!r} is not an origin: expected https://suite.example.com, without a path"
        )
    if found[1] == "http" and found[2].strip("[]") not in _LOOPBACK:
        raise ValueError(f"{value} must begin with https://")
    return value


Origins = Annotated[tuple[Annotated[str, BeforeValidator(_origin)], ...], BeforeValidator(_split)]


def is_local(url: str | None) -> bool:
    """Whether a URL leads to this host; browsers trust it without TLS."""
    return url is None or urlsplit(url).hostname in _LOOPBACK


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"{value!r} is not a time zone that this host knows; expected one as Europe/Berlin"
        ) from None
    return value


Zone = Annotated[str, AfterValidator(_zone)]


def _proxy(value: str) -> str:
    try:
        parts = urlsplit(value)
        whole = parts.scheme == "http" and bool(parts.hostname) and parts.port is not None
    except ValueError:  # whose message might hold the password
        whole = False
    if not whole:
        raise ValueError("it must begin with http:// and name host and port")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("nothing may follow the port")
    if not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError("other characters than plain ASCII are written percent-encoded")
    return value


def _issuer(value: str) -> str:
    parts = urlsplit(value)
    local = parts.scheme == "http" and parts.hostname in _LOOPBACK
    if not parts.hostname or not (local or parts.scheme == "https"):
        raise ValueError("it must begin with https://")
    return value


Issuer = Annotated[str, AfterValidator(_issuer)]


def _smtp(value: str) -> str:
    try:
        parts = urlsplit(value)
        whole = parts.scheme in ("smtp", "smtps") and bool(parts.hostname)
        whole = whole and parts.port is not None
    except ValueError:  # whose message might hold a password
        whole = False
    if not whole:
        raise ValueError("it must begin with smtp:// or smtps:// and name host and port")
    if parts.password is not None:
        raise ValueError("the password belongs into the file that smtp_password_file names")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("nothing may follow the port")
    if (odd := odd_in_url(value)) is not None:
        raise ValueError(odd)
    return value


_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&*+/=?^_{|}~-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*", re.ASCII)


def mail_address(value: str) -> str:
    """An address alone, in ASCII: nothing that could begin another header. Raises ValueError."""
    if len(value) > 254 or not _ADDRESS.fullmatch(value):
        raise ValueError("expected an address alone, in ASCII, as in hr@example.com")
    return value


SmtpUrl = Annotated[str, AfterValidator(_smtp)]
MailAddress = Annotated[str, AfterValidator(mail_address)]
BaseUrl = Annotated[str, AfterValidator(_base_url)]
ProxyUrl = Annotated[str, AfterValidator(_proxy)]


class LeftOut(NamedTuple):
    """What the environment has that looks like a setting and is not one.

    unknown: by a mistake, most likely; otherwise it is known where it comes from.
    """

    message: str
    hint: str
    unknown: bool


def foreign_form(address: str) -> str | None:
    """Names the tool whose form an address has, where libpq cannot read it."""
    if address[:1] in ("'", '"', "`"):
        return "it begins with a quotation mark, which is part of the value"
    if address.startswith("psql "):
        return "it is a command line of psql"
    scheme = address.partition("://")[0] if "://" in address else ""
    if scheme.startswith("jdbc:"):
        return "it begins with jdbc:, the form of Java's driver"
    if "+" in scheme:
        return f"it begins with {scheme}://, the form of SQLAlchemy with the driver's name"
    if scheme.isidentifier() and scheme not in ("postgresql", "postgres"):
        return f"it begins with {scheme}://"
    return None


def _database_url(value: str) -> str:
    if (form := foreign_form(value)) is not None:
        raise ValueError(form)
    try:
        Conninfo.parse(value.encode())
    except psycopg.Error:
        # libpq's message would repeat the address, and with it a password.
        raise ValueError("PostgreSQL's client cannot read it") from None
    scheme, _, rest = value.partition("://")
    place = rest.partition("?")[0] if scheme in ("postgresql", "postgres") else ""
    if "@" in place.partition("@")[2] or "@" in place.partition("/")[2]:
        # The rest of a password is taken for host, port or database, which are logged.
        raise ValueError("in a user or password, @ is written %40 and / is written %2F")
    if (why := invalid(value)) is not None:
        raise ValueError(why)
    return value


DatabaseUrl = Annotated[str, AfterValidator(_database_url)]
