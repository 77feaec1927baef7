"""Registrations as people deal with them, and what they are held against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Literal

from cdc.deliver.guard import Guard
from cdc.errors import CdcError
from cdc.mapping import Mapping
from cdc.message.signing import split_endpoint
from cdc.message.signing_keys import Scheme, public_key, scheme_of
from cdc.model import USUAL_ACTIONS, WebhookState
from cdc.settings import Settings
from cdc.webhooks.vault import Vault

HIDDEN = "***"
"""Stands where a secret was left out."""
CODE_DAYS = 7
"""Days from its entry that the code of a contact can confirm its address."""


class UnknownWebhook(CdcError):
    """There is no webhook of this id, or it was removed."""


class Duplicate(CdcError):
    """The same company, endpoint and event are registered already."""


class VersionChanged(CdcError):
    """The webhook has another version than the change was meant for."""


class Unverified(CdcError):
    """The endpoint was entered by its company, and has not been proven."""


class LimitReached(CdcError):
    """A company has as many of these as it may have."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a registration is held against.

    events:      those of the mapping, in its order.
    guard:       which endpoints may be called.
    cap:         concurrent requests of a webhook that does not say otherwise.
    per_company: webhooks that one company may have.
    per_event:   webhooks that one company may have on one event.
    vault:       encrypts and opens what is secret in a registration.
    fields:      of each event whose changes are compared, those that a webhook can name.
    deleted:     events of which deleted rows can be sent.
    """

    events: tuple[str, ...]
    guard: Guard
    cap: int = 10
    per_company: int = 100
    per_event: int = 20
    vault: Vault = field(default_factory=Vault)
    fields: dict[str, tuple[str, ...]] = field(default_factory=dict)
    deleted: tuple[str, ...] = ()

    @classmethod
    def of(cls, settings: Settings, mapping: Mapping) -> Rules:
        return cls(
            events=tuple(mapping.events),
            guard=Guard.of(settings),
            cap=settings.max_concurrency,
            per_company=settings.webhooks_per_company,
            per_event=settings.webhooks_per_event,
            vault=Vault(settings.secret_keys),
            fields={event: r.fields for event, r in mapping.events.items() if r.fields is not None},
            deleted=tuple(event for event, r in mapping.events.items() if r.deleted),
        )


@dataclass(frozen=True, slots=True)
class Secret:
    """A signing secret; ``expires_at`` is None for the current one.

    As the database holds it or opened; only opened ones have a scheme and a public key.
    """

    secret: str = field(repr=False)
    expires_at: datetime | None = None
    kept_scheme: Scheme | None = None
    """How it signs, as the database has it next to an encrypted one."""

    @property
    def scheme(self) -> Scheme:
        return scheme_of(self.secret)

    @property
    def public_key(self) -> str | None:
        """What a receiver verifies with, where that is not secret."""
        return public_key(self.secret) if self.scheme is Scheme.V1A else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which of its events' changes a webhook is sent, and with what.

    actions: what is done to a row; empty: created and modified.
    filter:  fields and the values that a row must have in each to be sent; empty: any.
    changed: fields of which an update must have changed one to be sent; empty: it must have changed
             the row; None: any update.
    include: fields whose values are sent; empty: none.
    """

    actions: tuple[str, ...] = USUAL_ACTIONS
    filter: dict[str, list[str]] = field(default_factory=dict)
    changed: tuple[str, ...] | None = None
    include: tuple[str, ...] = ()

    def parts(self) -> dict[str, Any]:
        """These fields alone, of a registration too."""
        return {part.name: getattr(self, part.name) for part in fields(Wanted)}


ALL_CHANGES = Wanted()


@dataclass(frozen=True, slots=True)
class NewWebhook(Wanted):
    """A webhook to register.

    cap:     concurrent requests; None: as the settings say.
    rate:    requests per second; None: no limit.
    secrets: newest first; empty: one is made.
    scheme:  of the one that is made.
    tls_profile: which certificates to trust and to show; None: those for all.
    unverified: nothing is sent to the endpoint before it is proven.
    """

    company: str
    events: tuple[str, ...]
    endpoint: str = field(repr=False)
    description: str = ""
    cap: int | None = None
    rate: float | None = None
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[Secret, ...] = ()
    scheme: Scheme = Scheme.V1
    state: WebhookState = WebhookState.ACTIVE
    reason: str = ""
    tls_profile: str | None = None
    ref: str | None = None
    unverified: bool = False


@dataclass(frozen=True, slots=True)
class Changes:
    """What to change; None: left as it is. A rate of 0 removes the limit, an empty
    profile the profile, an empty ref the ref, an empty list of included fields all of them.

    events:  all of them from now on.
    added, dropped: those that come to the ones before, or go.
    changed: as in Wanted; ``any``: any update from now on.
    """

    events: tuple[str, ...] | None = None
    added: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    endpoint: str | None = field(default=None, repr=False)
    description: str | None = None
    cap: int | None = None
    rate: float | None = None
    headers: dict[str, str] | None = field(default=None, repr=False)
    tls_profile: str | None = None
    ref: str | None = None
    actions: tuple[str, ...] | None = None
    filter: dict[str, list[str]] | None = None
    changed: tuple[str, ...] | Literal["any"] | None = None
    include: tuple[str, ...] | None = None


def as_list(value: object) -> object:
    """Of a tuple the list, for JSON."""
    return list(value) if isinstance(value, tuple) else value


@dataclass(frozen=True, slots=True)
class Registration(Wanted):
    """A webhook as registered, without its secrets.

    The endpoint's login and the values of headers are hidden (``***``), but where secrets were
    asked for: then they are as the database has them, encrypted, if there was a key. ``shown``
    leaves them out.
    ref: the caller's own id of it.
    unverified_since: nothing is sent before the endpoint is proven; None: it may be sent to.
    """

    id: int
    company: str
    events: tuple[str, ...]
    endpoint: str = field(repr=False)
    description: str
    state: WebhookState
    reason: str
    since: datetime
    cap: int
    rate: float | None
    headers: dict[str, str] = field(repr=False)
    created_at: datetime
    version: int
    tls_profile: str | None
    ref: str | None = None
    unverified_since: datetime | None = None

    def shown(self) -> dict[str, Any]:
        """All that may be printed."""
        return {
            "id": self.id,
            "company": self.company,
            "events": list(self.events),
            **{name: as_list(value) for name, value in self.parts().items()},
            "endpoint": without_login(self.endpoint),
            "description": self.description,
            "state": str(self.state),
            "reason": self.reason,
            "since": self.since,
            "cap": self.cap,
            "rate": self.rate,
            "headers": dict.fromkeys(self.headers, HIDDEN),
            "tls_profile": self.tls_profile,
            "created_at": self.created_at,
            "version": self.version,
            "ref": self.ref,
            "unverified_since": self.unverified_since,
        }


@dataclass(frozen=True, slots=True)
class Added:
    """A new registration and its secret, which is shown only here.

    generated: the secret was made by us.
    """

    webhook: Registration
    secret: str = field(repr=False)
    generated: bool = True


@dataclass(frozen=True, slots=True)
class Rotated:
    """The new secret, and until when the earlier ones stay valid (None: not at all)."""

    webhook: Registration
    secret: str = field(repr=False)
    old_until: datetime | None


def without_login(endpoint: str) -> str:
    """An endpoint that may be printed: user and password are replaced."""
    url, login = split_endpoint(endpoint)
    return url if login is None else url.replace("://", f"://{HIDDEN}@", 1)


def same_place(one: str, other: str) -> bool:
    """Whether two endpoints are the same, apart from their logins."""
    return split_endpoint(one)[0] == split_endpoint(other)[0]


def in_order(events: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Events each once, in the mapping's order; ones that it no longer has come last."""
    rank = {event: number for number, event in enumerate(known)}
    return tuple(sorted(dict.fromkeys(events), key=lambda e: (rank.get(e, len(rank)), e)))
