"""Read an endpoint's URL strictly.

Software disagrees about odd URLs, and what one part checks another may call differently. So only
the plain form is accepted: what is registered is sent as it stands, and means the same to all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from cdc.errors import UsageError

MAX_URL_CHARS = 2048
_DEFAULT_PORTS = {"http": 80, "https": 443}
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]*|[0-9]+")
_STRAY = re.compile(r"%(?![0-9A-Fa-f]{2}).{0,2}")
_PLAIN = "Example: https://hooks.example.com/suite"


@dataclass(frozen=True, slots=True)
class Target:
    """Where a URL leads.

    host:    in lower case, without brackets and final dot.
    address: the address that the host is, in whatever notation; None for a name.
    path:    path and query as they stand; what a request line names.
    """

    scheme: str
    host: str
    port: int
    address: IPv4Address | IPv6Address | None
    path: str


def parse(url: str) -> Target:
    """Take an endpoint apart.

    Raises UsageError, without repeating user and password, if it is not a plain http(s) URL.
    """
    if len(url) > MAX_URL_CHARS:
        raise UsageError(f"the URL is longer than {MAX_URL_CHARS} characters")
    if any(char <= " " or char == "\x7f" for char in url):
        raise UsageError(
            "the URL holds a space or a control character", "Write %20 for a space; one line only."
        )
    if not url.isascii():
        raise UsageError(
            "the URL holds a character outside ASCII",
            "Write the host in its xn-- form, and the rest percent-encoded.",
        )
    if "\\" in url:
        raise UsageError("the URL holds a backslash", "Use slashes; write %5C if one is meant.")
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in _DEFAULT_PORTS:
        raise UsageError("the URL does not begin with https:// or http://", _PLAIN)
    if "#" in rest:
        raise UsageError("the URL holds a fragment (#...), which is never sent", "Leave it out.")
    authority = re.split(r"[/?]", rest, maxsplit=1)[0]
    _, _, hostport = authority.rpartition("@")
    if authority.count("@") > 1:
        raise UsageError("the URL holds more than one @ before its path", "Write %40 for it.")
    host, port = _split_port(hostport, _DEFAULT_PORTS[scheme])
    path = rest[len(authority) :]
    if not path.startswith("/"):
        path = f"/{path}"
    if host.startswith("["):
        return Target(scheme, host[1:-1].lower(), port, _bracketed(host), path)
    name = host.lower().removesuffix(".")
    if not name:
        raise UsageError("the URL has no host", _PLAIN)
    address = numeric(name)
    if address is None and (
        len(name) > 253 or not all(_LABEL.fullmatch(label) for label in name.split("."))
    ):
        raise UsageError(f"invalid host name {host!r}", _PLAIN)
    return Target(scheme, host.lower() if address is not None else name, port, address, path)


def _split_port(hostport: str, default: int) -> tuple[str, int]:
    host, colon, port = hostport.rpartition(":")
    if hostport.endswith("]") or not colon:
        return hostport, default
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        # Not repeated: behind a / in it, a password is read as one.
        raise UsageError(
            "invalid port after the host's colon: expected a number from 1 to 65535",
            "In a user or password, write %2F for a slash.",
        )
    return host, int(port)


def _bracketed(host: str) -> IPv6Address:
    inside = host[1:-1]
    if "%" in inside:
        raise UsageError("the URL names an address with a zone", "Leave the zone (%...) out.")
    try:
        return IPv6Address(inside)
    except AddressValueError:
        raise UsageError(
            f"invalid IPv6 address {host!r}", "Example: https://[2001:470::1]/"
        ) from None


def numeric(host: str) -> IPv4Address | None:
    """The IPv4 address that ``inet_aton`` would read in a host; None for a name.

    One to four parts, each decimal, octal (0...) or hexadecimal (0x...), the last one filling
    all bytes that are left.

    Raises UsageError for a host that ends like a number but is not an address: some software would
    take it for one, some for a name.
    """
    parts = host.split(".")
    if not _NUMBER.fullmatch(parts[-1]):
        return None
    wrong = UsageError(f"invalid host {host!r}: neither a host name nor an IPv4 address", _PLAIN)
    if len(parts) > 4 or not all(_NUMBER.fullmatch(part) for part in parts):
        raise wrong
    try:
        *front, last = (_number(part) for part in parts)
    except ValueError:
        raise wrong from None
    if any(part > 255 for part in front) or last >= 256 ** (4 - len(front)):
        raise wrong
    value = last
    for place, part in enumerate(front):
        value += part << (8 * (3 - place))
    return IPv4Address(value)


def _number(part: str) -> int:
    if part[:2] in ("0x", "0X"):
        return int(part[2:] or "0", 16)
    return int(part, 8 if len(part) > 1 and part[0] == "0" else 10)


def check_encoding(url: str) -> None:
    """Refuse a percent sign that encodes nothing: what a server makes of it differs."""
    if (found := _STRAY.search(url)) is not None:
        raise UsageError(
            f"the URL holds {found[0]!r}, which is not percent-encoded", "Write %25 for %."
        )


def check_notation(target: Target) -> None:
    """Refuse an IPv4 address in any notation but the usual one: not all software reads it alike."""
    if isinstance(target.address, IPv4Address) and target.host != str(target.address):
        raise UsageError(
            f"{target.host} is an unusual way to write {target.address}",
            f"Write {target.address}.",
        )
