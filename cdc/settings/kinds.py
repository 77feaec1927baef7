"""Kinds of values that settings have: networks, lists, addresses of servers."""

from __future__ import annotations

import ipaddress
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import NoDecode

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
    tuple[Annotated[Network, BeforeValidator(_network)], ...], NoDecode, BeforeValidator(_split)
]
Schedule = Annotated[
    tuple[Annotated[float, Field(ge=0.001, le=31 * DAY)], ...],
    NoDecode,
    BeforeValidator(_split),
]
Keys = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]


def _base_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("it has to begin with https:// and a host")
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError("it may hold no user, query or fragment")
    return value if value.endswith("/") else value + "/"


def _proxy(value: str) -> str:
    try:
        parts = urlsplit(value)
        whole = parts.scheme == "http" and bool(parts.hostname) and parts.port is not None
    except ValueError:  # whose message might hold the password
        whole = False
    if not whole:
        raise ValueError("it has to begin with http:// and name host and port")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("nothing may follow the port")
    if not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError("other characters than plain ASCII are written percent-encoded")
    return value


BaseUrl = Annotated[str, AfterValidator(_base_url)]
ProxyUrl = Annotated[str, AfterValidator(_proxy)]
