"""Reads the settings from file and environment. Every error is a ConfigError that names the key."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from cdc.errors import ConfigError
from cdc.settings.kinds import LeftOut
from cdc.settings.model import Settings, Source
from cdc.settings.reference import describe, env_name

_CONFIG_VARIABLE = "CDC_CONFIG"
# Read by the tests and by the embedded PostgreSQL.
_TEST_PREFIX = "CDC_TEST_"

# Kubernetes sets these in every container, for each Service of the namespace: one that is named
# `cdc` or `cdc-http` has names like ours.
_SERVICE = re.compile(
    r"CDC_(\w+_)?(SERVICE_(HOST|PORT(_\w+)?)|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_SERVICE_ADDRESS = re.compile(r"(tcp|udp|sctp)://\S+")


def load(config_path: Path | None = None, *, need_database: bool = True) -> Settings:
    """The settings: the environment over the file over defaults.

    config_path:   a TOML file; None reads the one that CDC_CONFIG names, if it names one.
    need_database: whether a missing database_url is an error.

    A path in the file is relative to the file; one in the environment to the current folder. An
    empty environment variable counts as not set, white space around a value as not there. Raises
    ConfigError. What the environment has beyond our settings is left out, and named in
    ``Settings.left_out``.
    """
    if config_path is None and (named := os.environ.get(_CONFIG_VARIABLE, "").strip()):
        config_path = Path(named)
    from_file = _read_file(config_path) if config_path else {}
    from_environment, left_out = _read_environment()
    sources: dict[str, Source] = {key: "file" for key in from_file}
    sources |= {key: "environment" for key in from_environment}
    try:
        settings = Settings.model_validate({**from_file, **from_environment})
    except ValidationError as error:
        lines = [_explain(detail, sources, config_path) for detail in error.errors()]
        places = f"the environment or {config_path}" if config_path else "the environment"
        raise ConfigError(
            "\n".join(dict.fromkeys(lines)),
            f"Correct {places}; docs/configuration.md lists all settings.",
        ) from None
    if need_database and not settings.database_url:
        raise ConfigError(
            "database_url is missing",
            "Set CDC_DATABASE_URL=postgresql://user:password@host:5432/database, or database_url "
            "in a configuration file.",
        )
    settings._sources.update(sources)
    settings._config_path = config_path
    settings._left_out = left_out
    return settings


def _read_file(path: Path) -> dict[str, object]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"configuration file {path} cannot be read: {error.strerror}",
            f"Name an existing file with --config or {_CONFIG_VARIABLE}.",
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"configuration file {path}: invalid TOML: {error}",
            'Write one key a line, such as: base_url = "https://example.com/api/v3/"',
        ) from None
    for key in values:
        if key not in Settings.model_fields:
            raise _unknown(f"{key} in {path}", key, Settings.model_fields)
    for key, value in values.items():
        if (
            isinstance(value, str)
            and value.strip()
            and Path in get_args(Settings.model_fields[key].annotation)
        ):
            try:
                values[key] = path.parent / Path(value.strip()).expanduser()
            except RuntimeError:
                raise ConfigError(
                    f"{key} = {value!r} in {path}: unknown home directory",
                    "Give the path from / on.",
                ) from None
    return values


def _read_environment() -> tuple[dict[str, object], tuple[LeftOut, ...]]:
    """What it sets, and what it has beyond that."""
    known = {env_name(key): key for key in Settings.model_fields}
    found: dict[str, object] = {}
    services: list[str] = []
    unknown: list[LeftOut] = []
    for name, value in sorted(os.environ.items()):
        if not name.startswith("CDC_") or name.startswith(_TEST_PREFIX):
            continue
        if _is_of_a_service(name, value):
            services.append(name)
        elif name in known:
            if value.strip():
                found[known[name]] = value.strip()
        elif name != _CONFIG_VARIABLE:
            error = _unknown(f"environment variable {name}", name, known)
            unknown.append(LeftOut(error.message, error.hint, unknown=True))
    if not services:
        return found, tuple(unknown)
    some = ", ".join(services[:2]) + (", ..." if len(services) > 2 else "")
    of_services = LeftOut(
        f"environment variables of a Kubernetes Service are not settings, and left out: {some}",
        "`enableServiceLinks: false` in the pod's specification keeps them away.",
        unknown=False,
    )
    return found, (of_services, *unknown)


def _is_of_a_service(name: str, value: str) -> bool:
    # CDC_HTTP_PORT is ours, and that of a Service `cdc-http`: the value decides.
    address = name.endswith("_PORT") and _SERVICE_ADDRESS.fullmatch(value) is not None
    return address or _SERVICE.fullmatch(name) is not None


def _unknown(thing: str, name: str, known: Iterable[str]) -> ConfigError:
    close = get_close_matches(name, known, n=1)
    advice = f"Did you mean {close[0]}?" if close else f"Known: {', '.join(sorted(known))}."
    return ConfigError(f"unknown setting: {thing}", advice)


def _explain(detail: ErrorDetails, sources: dict[str, Source], path: Path | None) -> str:
    """One line: key, value, where it stands, what would be accepted."""
    # Our own checks say why; pydantic's messages speak of Python.
    why = str(detail["ctx"]["error"]) if detail["type"] == "value_error" else ""
    if not detail["loc"]:
        return why
    name = str(detail["loc"][0])
    key = next(key for key in describe() if key.name == name)
    place = key.env if sources.get(name) == "environment" else f"in {path}"
    if name == "database_url":
        return (
            f"database_url ({place}) is invalid ({why or 'not a text'}); expected "
            "postgresql://user:password@host:5432/database"
        )
    if name == "proxy":
        return (
            f"proxy ({place}) is not accepted ({why or 'not a text'}); expected "
            "http://user:password@host:port"
        )
    if name == "secret_keys":
        return (
            f"secret_keys ({place}) is not accepted ({why or 'not a list of texts'}); expected up "
            "to 10 keys with commas between, as `cdc config new-key` makes them"
        )
    reason = f" ({why})" if why else ""
    # A URL in the wrong place may hold a password.
    value = re.sub(r"//\S*@", "//***@", repr(detail["input"]))
    return f"{name} = {value} ({place}) is not accepted{reason}; expected {key.type}"
