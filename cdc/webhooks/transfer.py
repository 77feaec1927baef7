"""Registrations as a JSON file: to move them to another installation, or to keep a copy."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from cdc.errors import UsageError
from cdc.message.signing import split_endpoint
from cdc.message.signing_keys import Scheme
from cdc.model import USUAL_ACTIONS, WebhookState
from cdc.webhooks.model import (
    ALL_CHANGES,
    HIDDEN,
    NewWebhook,
    Registration,
    Secret,
    as_list,
    without_login,
)
from cdc.wording import expected

FORMAT = "cdc webhooks"
VERSION = 1


class _StrictModel(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class _Secret(_StrictModel):
    secret: str
    expires_at: datetime | None = None


class _Webhook(_StrictModel):
    company: str
    events: tuple[str, ...]
    endpoint: str
    description: str = ""
    state: Literal["active", "paused", "suspended"] = "active"
    reason: str = ""
    cap: int | None = None
    rate: float | None = None
    headers: dict[str, str] = {}
    tls_profile: str | None = None
    ref: str | None = None
    actions: tuple[str, ...] = USUAL_ACTIONS
    filter: dict[str, list[str]] = {}
    changed: tuple[str, ...] | None = None
    include: tuple[str, ...] = ()
    unverified: bool = False
    signature: Scheme = Scheme.V1
    secrets: list[_Secret] = []


_OWN = ("unverified", "signature", "secrets")
_PLAIN = tuple(name for name in _Webhook.model_fields if name not in _OWN)
"""Names that a file and a registration have in common."""


class _ExportFile(_StrictModel):
    format: Literal["cdc webhooks"]
    version: Literal[1]
    webhooks: list[_Webhook]


def dump(
    entries: Sequence[tuple[Registration, tuple[Secret, ...] | Scheme]],
) -> dict[str, Any]:
    """Registrations as a file holds them. Those that come with their way of signing instead of
    their secrets have everything secret left out or hidden: signing secrets, logins of endpoints,
    values of headers. An import makes secrets of the same kind."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "webhooks": [_dumped(one, signed) for one, signed in entries],
    }


def hidden(registrations: Sequence[Registration]) -> list[int]:
    """Webhooks that an export without secrets cannot bring back as they are."""
    return [w.id for w in registrations if w.headers or split_endpoint(w.endpoint)[1] is not None]


def _dumped(one: Registration, signed: tuple[Secret, ...] | Scheme) -> dict[str, Any]:
    shown = isinstance(signed, Scheme)
    entry = {name: as_list(getattr(one, name)) for name in _PLAIN}
    for name, value in ALL_CHANGES.parts().items():
        # A program that does not know these may read the others.
        if getattr(one, name) == value:
            del entry[name]
    entry["state"] = str(one.state)
    if one.unverified_since is not None:
        entry["unverified"] = True
    if shown:
        entry["endpoint"] = without_login(one.endpoint)
        entry["headers"] = dict.fromkeys(one.headers, HIDDEN)
    if isinstance(signed, Scheme):
        entry["signature"] = str(signed)
    else:
        entry["secrets"] = [{"secret": s.secret, "expires_at": s.expires_at} for s in signed]
    return entry


def parse(data: bytes, origin: str) -> list[NewWebhook]:
    """The registrations of an exported file. Raises UsageError naming the place."""
    try:
        raw = _ExportFile.model_validate(orjson.loads(data))
    except orjson.JSONDecodeError as error:
        raise UsageError(f"{origin}: invalid JSON: {error}", _HINT) from None
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UsageError(f"{origin}: {place}: {expected(first)}", _HINT) from None
    return [_parsed(entry) for entry in raw.webhooks]


_HINT = "`cdc webhook export` writes such a file."


def _parsed(entry: _Webhook) -> NewWebhook:
    return NewWebhook(
        **{name: getattr(entry, name) for name in _PLAIN if name != "state"},
        secrets=tuple(Secret(s.secret, s.expires_at) for s in entry.secrets),
        scheme=entry.signature,
        state=WebhookState.PAUSED if entry.unverified else WebhookState(entry.state),
        unverified=entry.unverified,
    )
