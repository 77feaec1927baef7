"""The settings as people read them: names, ranges, values without passwords."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import NoneType
from typing import Any, Literal, NamedTuple, get_args, get_origin

from annotated_types import Ge, Gt, Le
from psycopg.conninfo import make_conninfo
from psycopg.pq import Conninfo
from pydantic.fields import FieldInfo

from cdc.settings.kinds import Origins, Roles, Zone
from cdc.settings.model import Settings, Source

_HIDDEN = "***"
_WORDS = {bool: "true or false", int: "whole number", float: "number", Path: "path"}


class SettingKey(NamedTuple):
    """A setting.

    name:        as the file spells it.
    env:         the environment variable.
    type:        what is accepted, with the range, in words.
    default:     as the environment would spell it; empty where there is none.
    description: meaning and unit, in Markdown.
    """

    name: str
    env: str
    type: str
    default: str
    description: str


class Value(NamedTuple):
    """A setting's value as the environment would spell it, without passwords, and its source."""

    name: str
    value: str
    source: Source


def describe() -> tuple[SettingKey, ...]:
    """All settings, in the order of their declaration."""
    return tuple(
        SettingKey(
            name, env_name(name), _type(field), _text(field.default), field.description or ""
        )
        for name, field in Settings.model_fields.items()
    )


def values(settings: Settings) -> tuple[Value, ...]:
    """What holds now and why, for `cdc config show`; safe to print."""
    return tuple(
        Value(name, _text(shown), source)
        for name, source in settings.sources.items()
        for shown in [getattr(settings, name)]
        for shown in [_HIDE[name](shown) if name in _HIDE else shown]
    )


def secrets_in_file(settings: Settings) -> tuple[str, ...]:
    """Names of the keys that the settings' file gives, and whose values are never shown whole."""
    return tuple(
        name
        for name, hidden in _HIDE.items()
        if settings.sources[name] == "file" and _HIDDEN in _text(hidden(getattr(settings, name)))
    )


def env_name(key: str) -> str:
    return f"CDC_{key.upper()}"


def redact_dsn(address: str) -> str:
    """A database address in libpq's keyword form, with ``***`` for whatever is secret.

    Raises psycopg.OperationalError (with the address in its message) for an invalid address.
    """
    if not address:
        return ""
    shown = {
        option.keyword.decode(): _HIDDEN if option.dispchar == b"*" else option.val.decode()
        for option in Conninfo.parse(address.encode())
        if option.val is not None
    }
    return make_conninfo("", **shown)


_HIDE: dict[str, Callable[[Any], object]] = {
    "database_url": redact_dsn,
    "proxy": lambda url: url and re.sub(r"//[^/]*@", f"//{_HIDDEN}@", url),
    "oidc_client_secret": lambda secret: secret and _HIDDEN,
    "secret_keys": lambda keys: (_HIDDEN,) * len(keys),
}


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else str(value)
    if isinstance(value, tuple):
        return ",".join(_text(part) for part in value)
    return str(value)


def _type(field: FieldInfo) -> str:
    """What a field accepts, in words."""
    annotation = next(
        (part for part in get_args(field.annotation) if NoneType in get_args(field.annotation)),
        field.annotation,
    )
    if get_origin(annotation) is Literal:
        *names, last = get_args(annotation)
        return f"{', '.join(names)} or {last}"
    if get_args(Zone)[1] in field.metadata:
        return "time zone"
    if get_origin(annotation) is tuple:
        part = get_args(annotation)[0]
        kind, *constraints = get_args(part) or (part,)
        limits = [limit for c in constraints if isinstance(c, FieldInfo) for limit in c.metadata]
        named = {get_args(Roles)[0]: "roles", get_args(Origins)[0]: "origins"}
        texts = named.get(annotation, "hosts" if constraints else "keys")
        noun = {float: "numbers", str: texts}.get(kind, "networks")
        return f"{noun} with commas between{_range(limits)}"
    for kind, word in _WORDS.items():
        if annotation is kind:
            return word + _range(field.metadata)
    return "text"


def _range(metadata: list[object]) -> str:
    low = high = ""
    for limit in metadata:
        if isinstance(limit, Ge):
            low = f"{_text(limit.ge)} to"
        elif isinstance(limit, Gt):
            low = f"above {_text(limit.gt)}, up to"
        elif isinstance(limit, Le):
            high = _text(limit.le)
    return f", {low} {high}" if low and high else ""
