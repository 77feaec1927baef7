"""Sessions of the console. Of a session's secret, which is in the cookie, a SHA-256 is kept."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from cdc.schema.tables import api_key, session
from cdc.web import keys
from cdc.web.keys import NOW, Key, Scope
from cdc.webhooks import audit
from cdc.webhooks.audit import Actor

LIFETIME = timedelta(hours=8)

_COOKIE = re.compile(r"([a-z2-7]{12})?\.([A-Za-z0-9_-]{43})")
_NONE = hashlib.sha256(b"no session").digest()


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who is signed in. key: the one that they gave, without its secret."""

    id: str
    key: Key = field(repr=False)

    def actor(self, source: str, request: str) -> Actor:
        return Actor(f"session:{self.id}", source, request)


def without_key() -> str:
    """A cookie for the form to sign in: nothing is kept of it here."""
    return f".{secrets.token_urlsafe(32)}"


def form_token(cookie: str) -> str:
    """What a form has to bring along with this cookie; empty for a cookie that is not ours."""
    found = _COOKIE.fullmatch(cookie)
    if found is None:
        return ""
    return hmac.new(found[2].encode(), b"cdc console form", hashlib.sha256).hexdigest()


def is_token(cookie: str, sent: str) -> bool:
    """Whether a form came from a page of this session; compared in constant time."""
    wanted = form_token(cookie)
    return bool(wanted) and hmac.compare_digest(wanted.encode(), sent.encode())


def begin(conn: sa.Connection, key: Key, source: str, request: str) -> str:
    """Signs in. Returns the cookie."""
    number, secret = keys.new_key()
    conn.execute(
        sa.insert(session)
        .inline()
        .values(
            id=number,
            digest=keys.digest(secret),
            key_id=key.id,
            expires_at=NOW + sa.cast(LIFETIME, sa.Interval),
        )
    )
    made = Session(number, key)
    after = {"session": number, "key": key.id, "scope": str(key.scope)}
    audit.note(conn, made.actor(source, request), "session.begin", after=after)
    return f"{number}.{secret}"


def find(conn: sa.Connection, cookie: str) -> Session | None:
    """The session of a cookie, if it has not ended, and its key is valid still."""
    found = _COOKIE.fullmatch(cookie)
    if found is None or found[1] is None:
        return None
    query = (
        sa.select(session.c.digest, session.c.key_id, api_key.c.scope)
        .join(api_key, api_key.c.id == session.c.key_id)
        .where(
            session.c.id == found[1],
            session.c.expires_at > NOW,
            api_key.c.revoked_at.is_(None),
            sa.or_(api_key.c.expires_at.is_(None), api_key.c.expires_at > NOW),
        )
    )
    row = conn.execute(query).one_or_none()
    same = hmac.compare_digest(keys.digest(found[2]), _NONE if row is None else row.digest)
    if row is None or not same:
        return None
    return Session(found[1], Key(row.key_id, Scope.parse(row.scope), ""))


def end(conn: sa.Connection, ended: Session, source: str, request: str) -> None:
    """Signs out: the cookie is worth nothing from now on."""
    conn.execute(sa.delete(session).where(session.c.id == ended.id))
    before = {"session": ended.id, "key": ended.key.id}
    audit.note(conn, ended.actor(source, request), "session.end", before=before)


def listed(conn: sa.Connection, most: int, number: str | None = None) -> list[dict[str, Any]]:
    """Those that have not ended, the newest first; or this one alone."""
    columns = (session.c.id, session.c.key_id, session.c.created_at, session.c.expires_at)
    query = (
        sa.select(*columns, api_key.c.scope, api_key.c.description)
        .join(api_key, api_key.c.id == session.c.key_id)
        .where(session.c.expires_at > NOW, api_key.c.revoked_at.is_(None))
        .where(sa.true() if number is None else session.c.id == number)
        .order_by(session.c.created_at.desc())
        .limit(most)
    )
    return [dict(row) for row in conn.execute(query).mappings()]


def revoke(conn: sa.Connection, number: str, actor: Actor) -> bool:
    """Ends another's session; whether there was one."""
    gone = sa.delete(session).where(session.c.id == number).returning(session.c.key_id)
    row = conn.execute(gone).one_or_none()
    if row is not None:
        audit.note(conn, actor, "session.end", before={"session": number, "key": row.key_id})
    return row is not None


def forget_old(conn: sa.Connection) -> None:
    conn.execute(sa.delete(session).where(session.c.expires_at < NOW))
