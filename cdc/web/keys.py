"""Keys of the API: ``cdc_<id>_<secret>``. Of the secret only a SHA-256 is kept."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa
from psycopg.rows import class_row

from cdc.errors import CdcError, UsageError
from cdc.postgres.connections import driver_of
from cdc.schema.tables import api_key, registration
from cdc.webhooks import audit, checks
from cdc.webhooks.audit import Actor

NOW = sa.func.clock_timestamp()
USED_EVERY = timedelta(minutes=1)
"""How often the last use is written, at most."""

KEY = re.compile(r"cdc_([a-z2-7]{12})_([A-Za-z0-9_-]{43})")
ID = re.compile(r"[a-z2-7]{12}")
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_NO_KEY = hashlib.sha256(b"no key").digest()

# The first statement of each request. By the driver: SQLAlchemy takes longer than PostgreSQL.
_ASKED = """
select digest, scope,
       revoked_at is null and (expires_at is null or expires_at > clock_timestamp()) as alive,
       last_used_at is null or last_used_at < clock_timestamp() - %(every)s as rested,
       (select company from cdc.registration where id = %(webhook)s::bigint) as company
  from cdc.api_key where id = %(id)s
"""

SHOWN_COLUMNS = (
    api_key.c.id,
    api_key.c.scope,
    api_key.c.description,
    api_key.c.created_at,
    api_key.c.created_by,
    api_key.c.expires_at,
    api_key.c.revoked_at,
    api_key.c.last_used_at,
)

ScopeKind = Literal["admin", "operator", "read", "company", "webhook"]
_KINDS: dict[str, ScopeKind] = {"admin": "admin", "operator": "operator", "read": "read"}


@dataclass(frozen=True, slots=True)
class Scope:
    """What a key is for: everything, or one company, or one webhook.

    value: the company's key, or the webhook's number.
    """

    kind: ScopeKind
    value: str = ""

    @classmethod
    def parse(cls, text: str) -> Scope:
        """Raises UsageError."""
        kind, colon, value = text.partition(":")
        match kind:
            case "admin" | "operator" | "read" if not colon:
                return cls(_KINDS[kind])
            case "company" if colon:
                checks.company(value)
                return cls("company", value)
            case "webhook" if re.fullmatch(r"[1-9][0-9]{0,17}", value):
                return cls("webhook", value)
        raise UsageError(
            f"invalid scope: {text!r}", "Expected admin, operator, read, company:7 or webhook:5."
        )

    def __str__(self) -> str:
        return f"{self.kind}:{self.value}" if self.value else self.kind


@dataclass(frozen=True, slots=True)
class Key:
    """A key that was sent and is valid. ``secret`` is as it was sent, for this request only.

    rested:    its last use is longer ago than what is kept of it.
    companies: of the webhook that was asked about with it; None: there is no such webhook.
    """

    id: str
    scope: Scope
    secret: str = field(repr=False)
    rested: bool = False
    companies: Mapping[int, str | None] = field(default_factory=dict)


class _Found(NamedTuple):
    """What _ASKED returns."""

    digest: bytes
    scope: str
    alive: bool
    rested: bool
    company: str | None


class UnknownKey(CdcError):
    """There is no such key."""


def new_key() -> tuple[str, str]:
    """Id and secret of a key that does not exist yet."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(12)), secrets.token_urlsafe(32)


def digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def create(
    conn: sa.Connection,
    actor: Actor,
    scope: Scope,
    *,
    description: str = "",
    expires: timedelta | None = None,
    key: str | None = None,
) -> tuple[dict[str, Any], str]:
    """Makes a key. Returns what is kept of it, and the key itself, which is shown only now.

    key: one that was made elsewhere; None: one is made.

    Raises UsageError, also for the scope of a webhook that does not exist.
    """
    checks.text("description", description)
    if scope.kind == "webhook" and company_of(conn, scope) is None:
        raise UsageError(f"invalid scope: there is no webhook {scope.value}")
    found = None if key is None else KEY.fullmatch(key)
    if key is not None and found is None:
        raise UsageError("invalid key", "Expected cdc_<12 letters>_<43 characters>.")
    number, secret = found.groups() if found is not None else new_key()
    ends = None if expires is None else NOW + sa.cast(expires, sa.Interval)
    made = conn.execute(
        sa.insert(api_key)
        .values(
            id=number,
            digest=digest(secret),
            scope=str(scope),
            description=description,
            created_by=actor.name,
            expires_at=ends,
        )
        .returning(*SHOWN_COLUMNS)
    )
    row = dict(made.mappings().one())
    audit.note(
        conn,
        actor,
        "key.create",
        company=scope.value if scope.kind == "company" else None,
        webhook=int(scope.value) if scope.kind == "webhook" else None,
        after={"id": number, "scope": str(scope), "expires_at": row["expires_at"]},
    )
    return row, f"cdc_{number}_{secret}"


def listed(conn: sa.Connection, after: str = "", limit: int = 1000) -> Sequence[dict[str, Any]]:
    """Keys by id, revoked and expired ones included."""
    query = (
        sa.select(*SHOWN_COLUMNS).where(api_key.c.id > after).order_by(api_key.c.id).limit(limit)
    )
    return [dict(row) for row in conn.execute(query).mappings()]


def revoke(conn: sa.Connection, actor: Actor, number: str) -> dict[str, Any]:
    """Ends a key for good; one that was revoked stays as it is. Raises UnknownKey."""
    query = sa.select(*SHOWN_COLUMNS).where(api_key.c.id == number).with_for_update()
    row = conn.execute(query).mappings().one_or_none()
    if row is None:
        raise UnknownKey(f"unknown key: {number!r}", "`cdc key list` lists all keys.")
    if row["revoked_at"] is not None:
        return dict(row)
    made = conn.execute(
        sa.update(api_key)
        .where(api_key.c.id == number)
        .values(revoked_at=NOW)
        .returning(*SHOWN_COLUMNS)
    )
    audit.note(conn, actor, "key.revoke", before={"id": number, "scope": row["scope"]})
    return dict(made.mappings().one())


def valid(conn: sa.Connection, sent: str, webhook: int | None = None) -> Key | None:
    """The key that was sent, if it is valid: known here, and neither expired nor revoked.

    webhook: of which the company is read in the same statement.
    """
    found = KEY.fullmatch(sent)
    number, secret = found.groups() if found is not None else ("", "")
    asked = {"id": number, "every": USED_EVERY, "webhook": webhook}
    row = driver_of(conn).cursor(row_factory=class_row(_Found)).execute(_ASKED, asked).fetchone()
    # Compared in constant time, whether there is such a key or not.
    same = hmac.compare_digest(digest(secret), _NO_KEY if row is None else row.digest)
    if row is None or not same or not row.alive:
        return None
    companies = {} if webhook is None else {webhook: row.company}
    return Key(number, Scope.parse(row.scope), secret, row.rested, companies)


def company_of(conn: sa.Connection, scope: Scope) -> str | None:
    """The company to which a key of this scope is bound, by its webhook too."""
    if scope.kind == "webhook":
        found = sa.select(registration.c.company).where(registration.c.id == int(scope.value))
        return conn.scalar(found)
    return scope.value if scope.kind == "company" else None


def used(conn: sa.Connection, key: Key) -> None:
    """Writes its last use, unless another does so now."""
    free = sa.select(api_key.c.id).where(api_key.c.id == key.id)
    conn.execute(
        sa.update(api_key)
        .where(api_key.c.id == free.with_for_update(skip_locked=True).scalar_subquery())
        .values(last_used_at=NOW)
    )
